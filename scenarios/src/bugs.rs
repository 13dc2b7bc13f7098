//! The known bugs that the hunt puts back.
