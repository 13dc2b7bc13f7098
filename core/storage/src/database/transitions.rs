//! The life of a share (leasedb-and-storage §8, §15): which transitions there are, from which state to which. Everything
//! else is refused.

use runtime::{reached, relapse};

use super::{AccountId, DatabaseError, Epoch, Lease, Refused, Row, State, Write};
use crate::config::STARTER_LEASE;
use crate::share::{Kind, ShareId};

/// What can happen to a share.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    Come,
    BeginChange,
    Settle,
    Adopt,
    Condemn,
    CondemnUnleased,
    CondemnLeftover,
    CondemnAgain,
    Correct,
    Forget,
    ForgetVanished,
}

/// The table of §15: the state after an event, `Ok(None)` for no row, `Err` where the event is not allowed.
fn after(state: Option<State>, event: Event) -> Result<Option<State>, ()> {
    use Event::*;
    use State::*;
    Ok(match (state, event) {
        (None, Come) => Some(Coming),
        (None, Adopt) => Some(Stable),
        (None, CondemnLeftover) => Some(Going),
        (Some(Coming), Settle) => Some(Stable),
        (Some(Coming), Condemn) => Some(Going),
        (Some(Stable), BeginChange) => Some(Changing),
        (Some(Stable), Condemn | CondemnUnleased) => Some(Going),
        (Some(Stable), Correct) => Some(Stable),
        (Some(Stable), ForgetVanished) => None,
        (Some(Changing), Settle) => Some(Stable),
        (Some(Going), CondemnAgain) => Some(Going),
        (Some(Going), Forget) => None,
        // C1 is that this is not allowed: an upload and a deletion would meet in the backend.
        (Some(Going), Come) if relapse!("lease-L3") => Some(Coming),
        _ => return Err(()),
    })
}

impl Write<'_> {
    /// NONE → COMING (A1, C1).
    pub fn come(
        &mut self,
        id: ShareId,
        kind: Kind,
        expected_size: Option<u64>,
        now: u64,
    ) -> Result<Result<Epoch, Refused>, DatabaseError> {
        let come = |row: &mut Row| *row = Row { kind, used_space: 0, expected_size, ..*row };
        self.enter(id, Event::Come, None, now, |_| true, come)
    }

    /// STABLE → COMING of a mutable share that is changed (D2). Its leases stay.
    pub fn begin_change(&mut self, id: ShareId, now: u64) -> Result<Result<Epoch, Refused>, DatabaseError> {
        self.enter(id, Event::BeginChange, None, now, |row| row.kind == Kind::Mutable, |_| {})
    }

    /// COMING → STABLE (A5, D4), if the row still has this epoch; the lease is the caller's to renew in the same work.
    /// Only a share that was being changed can turn out to be corrupted.
    pub fn settle(
        &mut self,
        id: ShareId,
        epoch: Epoch,
        kind: Kind,
        used_space: u64,
        now: u64,
    ) -> Result<Result<Epoch, Refused>, DatabaseError> {
        let sound = |row: &Row| kind != Kind::Corrupted || row.state == State::Changing;
        let settle = |row: &mut Row| *row = Row { kind, used_space, expected_size: None, ..*row };
        self.enter(id, Event::Settle, Some(epoch), now, sound, settle)
    }

    /// NONE → STABLE with a starter lease (H).
    pub fn adopt(
        &mut self,
        id: ShareId,
        kind: Kind,
        used_space: u64,
        now: u64,
    ) -> Result<Result<Epoch, Refused>, DatabaseError> {
        let adopt = |row: &mut Row| *row = Row { kind, used_space, ..*row };
        let entered = self.enter(id, Event::Adopt, None, now, |_| true, adopt)?;
        if entered.is_ok() {
            reached!("database: share adopted");
            let lease = Lease { renewed: now, expires: Some(now.saturating_add(STARTER_LEASE)) };
            self.put_lease(id, AccountId::STARTER, Some(&lease))?;
        }
        Ok(entered)
    }

    /// COMING → GOING (B1) or STABLE → GOING (E1), if the row still has this epoch. A share that is being changed is
    /// never condemned.
    pub fn condemn(
        &mut self,
        id: ShareId,
        epoch: Epoch,
        now: u64,
    ) -> Result<Result<Epoch, Refused>, DatabaseError> {
        self.enter(id, Event::Condemn, Some(epoch), now, |_| true, |_| {})
    }

    /// STABLE → GOING if there is no lease (F1): decided and done in one step.
    pub fn condemn_unleased(
        &mut self,
        id: ShareId,
        now: u64,
    ) -> Result<Result<Epoch, Refused>, DatabaseError> {
        // With the bug the caller's earlier look is trusted, and a lease that came since is not seen.
        let leased = !self.leases(id)?.is_empty() && !relapse!("lease-L4");
        self.enter(id, Event::CondemnUnleased, None, now, |_| !leased, |_| {})
    }

    /// NONE → GOING, for objects that make no whole share and that nobody is writing (§10).
    pub fn condemn_leftover(
        &mut self,
        id: ShareId,
        used_space: u64,
        now: u64,
    ) -> Result<Result<Epoch, Refused>, DatabaseError> {
        let condemn = |row: &mut Row| *row = Row { kind: Kind::Corrupted, used_space, ..*row };
        self.enter(id, Event::CondemnLeftover, None, now, |_| true, condemn)
    }

    /// GOING → GOING with a new epoch, if the row still has this one: for a row as it was before commits that a power loss
    /// took away, whose epoch the store has seen a later one of.
    pub fn condemn_again(
        &mut self,
        id: ShareId,
        epoch: Epoch,
        now: u64,
    ) -> Result<Result<Epoch, Refused>, DatabaseError> {
        self.enter(id, Event::CondemnAgain, Some(epoch), now, |_| true, |_| {})
    }

    /// Sets kind and used space of a STABLE row, if it still has this epoch.
    pub fn correct(
        &mut self,
        id: ShareId,
        epoch: Epoch,
        kind: Kind,
        used_space: u64,
    ) -> Result<Result<Epoch, Refused>, DatabaseError> {
        let since = self.row(id)?.map_or(0, |row| row.since);
        let correct = |row: &mut Row| *row = Row { kind, used_space, ..*row };
        self.enter(id, Event::Correct, Some(epoch), since, |_| true, correct)
    }

    /// GOING → NONE with all leases (B4, E3, F3), if the row still has this epoch.
    pub fn forget(&mut self, id: ShareId, epoch: Epoch) -> Result<Result<(), Refused>, DatabaseError> {
        self.leave(id, Event::Forget, epoch)
    }

    /// STABLE → NONE with all leases, for a share all of whose objects have disappeared, if the row still has this epoch.
    pub fn forget_vanished(
        &mut self,
        id: ShareId,
        epoch: Epoch,
    ) -> Result<Result<(), Refused>, DatabaseError> {
        self.leave(id, Event::ForgetVanished, epoch)
    }

    /// A transition to a row. `allowed` is asked about the row as it is, if there is one; `change` sets what the event
    /// brings. An event that names no epoch is decided by this very transaction.
    fn enter(
        &mut self,
        id: ShareId,
        event: Event,
        epoch: Option<Epoch>,
        now: u64,
        allowed: impl FnOnce(&Row) -> bool,
        change: impl FnOnce(&mut Row),
    ) -> Result<Result<Epoch, Refused>, DatabaseError> {
        let row = self.row(id)?;
        let current = row.is_none_or(|row| epoch.is_none_or(|epoch| epoch == row.epoch) && allowed(&row));
        let Ok(Some(state)) = after(row.map(|row| row.state), event) else { return Ok(Err(Refused { row })) };
        if !current {
            return Ok(Err(Refused { row }));
        }
        let none =
            Row { state, kind: Kind::Immutable, used_space: 0, expected_size: None, since: now, epoch: 0 };
        let mut entered = row.unwrap_or(none);
        change(&mut entered);
        (entered.state, entered.since, entered.epoch) = (state, now, self.next_epoch());
        self.put_row(id, Some(&entered))?;
        Ok(Ok(entered.epoch))
    }

    /// A transition to no row. Its leases go with it.
    fn leave(
        &mut self,
        id: ShareId,
        event: Event,
        epoch: Epoch,
    ) -> Result<Result<(), Refused>, DatabaseError> {
        let row = self.row(id)?;
        match (row, after(row.map(|row| row.state), event)) {
            (Some(current), Ok(None)) if current.epoch == epoch => {
                for account in self.leases(id)?.into_keys() {
                    self.put_lease(id, account, None)?;
                }
                self.put_row(id, None)?;
                Ok(Ok(()))
            }
            _ => Ok(Err(Refused { row })),
        }
    }
}
