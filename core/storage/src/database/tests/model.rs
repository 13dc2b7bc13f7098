//! Random transactions against the plainest model of the database, with reopening and with a disk that fails.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::disk::TestWorld;
use super::{NOW, id, open};
use crate::config::{STARTER_LEASE, Sync};
use crate::database::{AccountId, Database, DatabaseError, Lease, Row, State, Write};
use crate::share::{Kind, Prefix, ShareId};

/// Two files under one prefix, and one under another.
const FILES: [u8; 3] = [0, 1, 200];

#[derive(Clone, Copy, Debug)]
struct Op {
    share: ShareId,
    event: Event,
    kind: Kind,
    number: u64,
    /// With an epoch that is not the row's.
    stale: bool,
}

#[derive(Clone, Copy, Debug)]
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
    Renew(AccountId),
    EndLeases,
}

impl Event {
    /// It brings a share to a row, which no other transition has the epoch of.
    fn gives_an_epoch(self) -> bool {
        !matches!(self, Event::Forget | Event::ForgetVanished | Event::Renew(_) | Event::EndLeases)
    }
}

#[derive(Clone, Debug)]
enum Step {
    /// Several operations in one piece of work, which then fails or not.
    Work(Vec<Op>, bool),
    Reopen,
    /// The disk fails at a change of the next work, once or for good.
    Fail(u64, bool),
}

#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    rows: BTreeMap<ShareId, Row>,
    leases: BTreeMap<(ShareId, AccountId), Lease>,
}

impl Model {
    /// The same operation on the model. `epoch` is what the database gave; none when it refused.
    fn apply(&mut self, op: Op, epoch: Option<u64>) {
        let Op { share, event, kind, number, stale } = op;
        let row = self.rows.get(&share).copied();
        let is = |state| row.is_some_and(|row| row.state == state);
        let current = !stale;
        let leased = self.leases.keys().any(|(id, _)| *id == share);
        let allowed = match event {
            Event::Come | Event::Adopt | Event::CondemnLeftover => row.is_none(),
            Event::BeginChange => is(State::Stable) && row.unwrap().kind == Kind::Mutable,
            Event::Settle => current && (is(State::Changing) || is(State::Coming) && kind != Kind::Corrupted),
            Event::Condemn => current && (is(State::Coming) || is(State::Stable)),
            Event::CondemnUnleased => is(State::Stable) && !leased,
            Event::Correct | Event::ForgetVanished => current && is(State::Stable),
            Event::CondemnAgain | Event::Forget => current && is(State::Going),
            Event::Renew(_) => is(State::Stable) || is(State::Changing),
            Event::EndLeases => true,
        };
        assert_eq!(epoch.is_some(), allowed, "{op:?} on {row:?}");
        let Some(epoch) = epoch else { return };
        let new = |state, kind, used_space, expected_size, since| Row {
            state,
            kind,
            used_space,
            expected_size,
            since,
            epoch,
        };
        let old = row.unwrap_or(new(State::Going, kind, 0, None, 0));
        let after = match event {
            Event::Come => Some(new(State::Coming, kind, 0, Some(number), NOW)),
            Event::BeginChange => Some(new(State::Changing, old.kind, old.used_space, None, NOW)),
            Event::Settle | Event::Adopt => Some(new(State::Stable, kind, number, None, NOW)),
            Event::Condemn | Event::CondemnUnleased | Event::CondemnAgain => {
                Some(Row { epoch, state: State::Going, ..old })
            }
            Event::CondemnLeftover => Some(new(State::Going, Kind::Corrupted, number, None, NOW)),
            Event::Correct => Some(new(State::Stable, kind, number, None, old.since)),
            Event::Forget | Event::ForgetVanished => None,
            Event::Renew(_) | Event::EndLeases => row,
        };
        match after {
            Some(after) => drop(self.rows.insert(share, after)),
            None => {
                self.rows.remove(&share);
                self.leases.retain(|(id, _), _| *id != share);
            }
        }
        match event {
            Event::Adopt => {
                let lease = Lease { renewed: NOW, expires: Some(NOW + STARTER_LEASE) };
                self.leases.insert((share, AccountId::STARTER), lease);
            }
            Event::Renew(account) => {
                let (renewed, expires) = asked(number);
                let held = self.leases.entry((share, account)).or_insert(Lease { renewed, expires });
                held.renewed = held.renewed.max(renewed);
                held.expires = match (held.expires, expires) {
                    (Some(a), Some(b)) => Some(a.max(b)),
                    _ => None,
                };
            }
            Event::EndLeases => {
                let rows = &self.rows;
                self.leases.retain(|(id, _), lease| {
                    Prefix::of(&id.index) != Prefix::of(&share.index) || !over(number, rows[id].kind, *lease)
                });
            }
            _ => {}
        }
    }
}

/// The times of a lease that a number stands for.
fn asked(number: u64) -> (u64, Option<u64>) {
    (NOW + number % 5, (!number.is_multiple_of(7)).then_some(NOW + number))
}

fn over(number: u64, kind: Kind, lease: Lease) -> bool {
    kind != Kind::Mutable && lease.expires.is_some_and(|expires| expires < NOW + number)
}

/// An operation on the database: the epoch of the row, none when it is refused, nothing when there is no row afterwards.
fn perform(write: &mut Write<'_>, op: Op) -> Result<Option<u64>, DatabaseError> {
    let Op { share, event, kind, number, stale } = op;
    let epoch = write.row(share)?.map_or(0, |row| row.epoch) + u64::from(stale);
    let entered = match event {
        Event::Come => write.come(share, kind, Some(number), NOW)?,
        Event::BeginChange => write.begin_change(share, NOW)?,
        Event::Settle => write.settle(share, epoch, kind, number, NOW)?,
        Event::Adopt => write.adopt(share, kind, number, NOW)?,
        Event::Condemn => write.condemn(share, epoch, NOW)?,
        Event::CondemnUnleased => write.condemn_unleased(share, NOW)?,
        Event::CondemnLeftover => write.condemn_leftover(share, number, NOW)?,
        Event::CondemnAgain => write.condemn_again(share, epoch, NOW)?,
        Event::Correct => write.correct(share, epoch, kind, number)?,
        Event::Forget => write.forget(share, epoch)?.map(|()| 0),
        Event::ForgetVanished => write.forget_vanished(share, epoch)?.map(|()| 0),
        Event::Renew(account) => {
            let (renewed, expires) = asked(number);
            write.renew(share, account, renewed, expires)?.map(|_| epoch)
        }
        Event::EndLeases => {
            let prefix = Prefix::of(&share.index);
            write.end_leases(prefix, &|kind, lease| over(number, kind, lease))?;
            Ok(epoch)
        }
    };
    Ok(entered.ok())
}

async fn content(database: &Database) -> Model {
    let look = |read: &crate::database::Read| {
        let mut model = Model::default();
        for prefix in Prefix::all() {
            model.rows.extend(read.prefix(prefix)?);
            for (share, leases) in read.prefix_leases(prefix)? {
                assert_eq!(read.leases(share)?, leases);
                model.leases.extend(leases.into_iter().map(|(account, lease)| ((share, account), lease)));
            }
        }
        for (share, row) in &model.rows {
            assert_eq!(read.row(*share)?, Some(*row));
            assert_eq!(read.rows(share.index)?.get(&share.share), Some(row));
        }
        let unleased: usize = Prefix::all().map(|prefix| read.unleased(prefix).unwrap().len()).sum();
        let stable = model.rows.iter().filter(|(_, row)| row.state == State::Stable);
        let without = stable.filter(|(share, _)| !model.leases.keys().any(|(id, _)| id == *share));
        assert_eq!(unleased, without.count());
        let totals = read.totals()?;
        let held: u64 = totals.accounts.values().map(|held| held.leases).sum();
        assert_eq!((totals.shares, held), (model.rows.len() as u64, model.leases.len() as u64));
        Ok(model)
    };
    database.view("look", look).await.unwrap()
}

async fn check(steps: Vec<Step>, sync: Sync) {
    let world = TestWorld::default();
    let mut database = super::open_as(&world, sync).await.unwrap().database;
    let mut model = Model::default();
    let mut last_epoch = 0;
    let mut failing = false;
    for step in steps {
        match step {
            Step::Fail(after, once) => {
                world.disk.fail_after(after, once);
                failing = true;
            }
            Step::Reopen => {
                world.disk.mend();
                failing = false;
                database.close().await;
                database = open(&world).await;
            }
            Step::Work(ops, fails) => {
                let work = ops.clone();
                let outcome = database.update("work", move |write| {
                    let mut epochs = Vec::new();
                    for op in work {
                        epochs.push(perform(write, op)?);
                    }
                    match fails {
                        true => Err(DatabaseError::Senseless(id(9, 9))),
                        false => Ok(epochs),
                    }
                });
                match outcome.await {
                    Ok(epochs) => {
                        for (op, epoch) in ops.into_iter().zip(epochs) {
                            if let Some(epoch) = epoch.filter(|_| op.event.gives_an_epoch()) {
                                assert!(epoch > last_epoch, "{op:?} has an epoch that was given before");
                                last_epoch = epoch;
                            }
                            model.apply(op, epoch);
                        }
                    }
                    Err(error) => {
                        assert!(failing || fails && error == DatabaseError::Senseless(id(9, 9)), "{error}");
                        if failing {
                            // It may or may not have been committed. What is there now is what stays.
                            world.disk.mend();
                            let found = content(&database).await;
                            if found != model {
                                assert!(!fails, "work that fails leaves nothing");
                                model = after_unknown(model, &ops, &found);
                            }
                            failing = false;
                        }
                    }
                }
                for row in model.rows.values() {
                    last_epoch = last_epoch.max(row.epoch);
                }
            }
        }
        if !failing {
            assert_eq!(content(&database).await, model);
        }
    }
}

/// The model after work of which only the result is known: every operation was done whose effect is there.
fn after_unknown(mut model: Model, ops: &[Op], found: &Model) -> Model {
    for op in ops {
        let mut tried = model.clone();
        let epoch = found.rows.get(&op.share).map_or(0, |row| row.epoch);
        if std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| tried.apply(*op, Some(epoch)))).is_ok() {
            model = tried;
        }
    }
    assert_eq!(&model, found, "neither before nor after");
    model
}

fn op() -> impl Strategy<Value = Op> {
    let event = prop_oneof![
        3 => Just(Event::Come),
        2 => Just(Event::BeginChange),
        4 => Just(Event::Settle),
        2 => Just(Event::Adopt),
        1 => Just(Event::Condemn),
        2 => Just(Event::CondemnUnleased),
        1 => Just(Event::CondemnLeftover),
        1 => Just(Event::CondemnAgain),
        1 => Just(Event::Correct),
        2 => Just(Event::Forget),
        1 => Just(Event::ForgetVanished),
        4 => (0..3u32).prop_map(|account| Event::Renew(AccountId(account))),
        2 => Just(Event::EndLeases),
    ];
    let kind = prop_oneof![Just(Kind::Immutable), Just(Kind::Mutable), Just(Kind::Corrupted)];
    let number = prop_oneof![0..40u64, Just(STARTER_LEASE + 20)];
    let share = (prop::sample::select(&FILES[..]), 0..2u32).prop_map(|(file, share)| id(file, share));
    (share, event, kind, number, prop::bool::weighted(0.1))
        .prop_map(|(share, event, kind, number, stale)| Op { share, event, kind, number, stale })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        20 => (prop::collection::vec(op(), 1..5), prop::bool::weighted(0.1))
            .prop_map(|(ops, fails)| Step::Work(ops, fails)),
        1 => Just(Step::Reopen),
        1 => (0..12u64, any::<bool>()).prop_map(|(after, once)| Step::Fail(after, once)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::with_cases(60) })]

    #[test]
    fn random_work_is_as_in_the_model(steps in prop::collection::vec(step(), 1..40)) {
        let tokio = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        tokio.block_on(check(steps, Sync::Full));
    }
}
