//! **replies**: each request is answered once, in the words of the client's version (annex-p2p §16, I1, I3, I4).

use pool::message::Message;
use pool::version::Version;

/// Checks that nothing was said unasked.
pub fn check_silent(quiet: bool) -> Result<(), String> {
    if quiet { Ok(()) } else { Err("the gateway says something that nobody has asked for".into()) }
}

/// Checks that a client of that version can understand a message.
pub fn check_word(message: &Message, version: Version) -> Result<(), String> {
    let plus =
        matches!(message, Message::SuccessPlus(_) | Message::FailurePlus(_) | Message::AlreadyHavePlus(_));
    let negative = matches!(message, Message::Data(number) | Message::PutFrom(number) if *number < 0);
    match () {
        () if plus && !version.has_plus() => Err(format!("{message:?} is said to a client of {version}")),
        () if negative => Err(format!("{message:?} makes no sense")),
        () => Ok(()),
    }
}
