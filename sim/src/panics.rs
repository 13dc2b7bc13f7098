//! Panics in a run are its verdict: they are caught, kept with their place, and not printed.

use std::any::Any;
use std::cell::{Cell, RefCell};
use std::panic;
use std::sync::Once;

use crate::world::context::OutOfFuel;

thread_local! {
    static IN_RUN: Cell<bool> = const { Cell::new(false) };
    static PLACE: RefCell<Option<String>> = const { RefCell::new(None) };
}

/// Keeps this thread's panics to itself from now on.
pub(crate) fn keep_quiet() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let print = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !IN_RUN.get() {
                return print(info);
            }
            PLACE.set(info.location().map(|place| format!("{}:{}", place.file(), place.line())));
        }));
    });
    IN_RUN.set(true);
}

/// What a caught panic said and where; nothing for a poll that ran out of fuel.
pub(crate) fn message_of(panic: Box<dyn Any + Send>) -> Option<String> {
    if panic.is::<OutOfFuel>() {
        return None;
    }
    let message = match (panic.downcast_ref::<&str>(), panic.downcast_ref::<String>()) {
        (Some(message), _) => (*message).to_string(),
        (_, Some(message)) => message.clone(),
        _ => "a panic without a message".into(),
    };
    Some(match PLACE.take() {
        Some(place) => format!("{message} ({place})"),
        None => message,
    })
}
