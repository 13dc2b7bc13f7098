//! What clients may do (annex-p2p §3, §4.2).

use crate::message::{Message, Service};

/// What a client may do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// Everything.
    #[default]
    ReadWrite,
    /// Everything but to remove.
    AppendOnly,
    /// Nothing that changes an object. Locks are allowed.
    ReadOnly,
}

/// What a request does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Need {
    /// It looks.
    Read,
    /// It keeps an object from being removed.
    Lock,
    /// It adds an object.
    Write,
    /// It removes one.
    Remove,
    /// It changes the repository itself, what others have put there included.
    Push,
}

impl Need {
    /// What this message asks for; none when it is no request.
    pub fn of(message: &Message) -> Option<Need> {
        Some(match message {
            Message::CheckPresent(_) | Message::GetTimestamp | Message::Get(..) | Message::NotifyChange => {
                Need::Read
            }
            Message::Connect(Service::UploadPack) => Need::Read,
            Message::Connect(Service::ReceivePack) => Need::Push,
            Message::LockContent(_) => Need::Lock,
            Message::Put(..) => Need::Write,
            Message::Remove(_) | Message::RemoveBefore(..) => Need::Remove,
            _ => return None,
        })
    }
}

impl Mode {
    /// Whether it is allowed; or what the client is told.
    pub fn allows(self, need: Need) -> Result<(), &'static str> {
        match (self, need) {
            (_, Need::Read | Need::Lock) | (Mode::ReadWrite, _) | (Mode::AppendOnly, Need::Write) => Ok(()),
            (Mode::AppendOnly, Need::Remove) => Err("this repository is append-only; removal denied"),
            (Mode::ReadOnly, Need::Write | Need::Remove) | (_, Need::Push) => {
                Err("this repository is read-only; write access denied")
            }
        }
    }
}
