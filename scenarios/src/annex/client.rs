//! A client: goes through its steps, tells the model what it asks and what it is answered, and has the oracles judge that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pool::message::Message;
use pool::uuid::Uuid;
use pool::version::Version;

use super::line::{Got, Line, Lost, Speak};
use super::link::Far;
use super::model::Since;
use super::oracle;
use super::stage::{Stage, Weather};
use super::web::Web;
use super::workload::{Body, ClientPlan, Object, Step, What};

/// How long a client waits for the end of a request, besides what it takes its own time for.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// For how long a lock keeps an object when its holder is lost.
const RETENTION: Duration = Duration::from_secs(600);

/// A client of the gateway.
pub struct Client {
    stage: Arc<Stage>,
    number: u64,
    plan: ClientPlan,
    limit: usize,
    line: Option<(Box<dyn Speak>, Option<usize>)>,
}

/// What a request finds at its beginning.
struct Met {
    since: Since,
    holders: BTreeSet<usize>,
    must: BTreeSet<usize>,
    /// Where the object would be put, and of these, where an upload cannot be gone on with: what has come is none of it.
    lack: BTreeSet<usize>,
    spoilt: BTreeSet<usize>,
    weather: Weather,
}

impl Client {
    /// A client with that plan. The gateway keeps `limit` connections.
    pub fn new(stage: Arc<Stage>, number: u64, plan: ClientPlan, limit: usize) -> Client {
        Client { stage, number, plan, limit, line: None }
    }

    /// Does all its steps.
    pub async fn live(mut self) {
        for (nth, step) in self.plan.steps.clone().into_iter().enumerate() {
            self.stage.script.sleep(Duration::from_millis(step.after_ms)).await;
            self.take(nth as u64, &step).await;
            self.stage.check_disks();
            self.stage.check_counts(self.limit);
        }
    }

    /// One request. True when it was answered as it is when all is well.
    pub async fn take(&mut self, nth: u64, step: &Step) -> bool {
        let met = self.meet(step);
        let line = match self.line.take() {
            Some((line, node)) if node == step.node => Some(line),
            _ => None,
        };
        let door = Door { client: self.number, newest: self.plan.version, http: self.plan.http };
        let request = request(self.stage.clone(), door, line, step.clone());
        let operation = self.stage.world.operation("request", nth, request);
        let patience = PATIENCE + Duration::from_millis(step.hold_ms);
        match self.stage.script.timeout(patience, operation).await {
            Ok(Ok(Ok((line, told)))) => {
                self.judge(step, &met, told);
                self.line = Some((line, step.node)).filter(|_| !step.leaves);
                true
            }
            Ok(Ok(Err(Lost::Wrong(detail)))) => {
                self.stage.world.violated("replies", detail);
                false
            }
            Ok(Ok(Err(Lost::Gone(why)))) => {
                self.judge_lost(step, &met, &why);
                false
            }
            Ok(Err(_cancelled)) => false,
            Err(_) => {
                self.judge_lost(step, &met, "there is no answer in time");
                false
            }
        }
    }

    fn meet(&self, step: &Step) -> Met {
        let nodes = self.nodes(step);
        let holders = self.stage.holders(step.object);
        let listed = if step.node.is_none() { self.stage.listed(step.object) } else { BTreeSet::new() };
        let unlisted = &nodes - &listed;
        let lack = if unlisted.is_empty() { &nodes - &holders } else { &unlisted - &holders };
        let model = self.stage.model();
        Met {
            since: model.begin(step.object),
            must: model.must(step.object) & &nodes,
            spoilt: lack.iter().copied().filter(|node| self.stage.is_spoilt(*node, step.object)).collect(),
            lack,
            holders,
            weather: self.stage.weather(self.whom(&nodes)),
        }
    }

    /// Whom a request to these nodes has to do with.
    fn whom(&self, nodes: &BTreeSet<usize>) -> impl Iterator<Item = Far> {
        [Far::Client(self.number)].into_iter().chain(nodes.iter().copied().map(Far::Node))
    }

    /// The nodes that a request has to do with.
    fn nodes(&self, step: &Step) -> BTreeSet<usize> {
        match step.node {
            Some(node) => [node].into(),
            None => (0..self.stage.nodes.len()).collect(),
        }
    }

    /// Whether nothing has gone wrong at all with whom a request had to do.
    fn was_calm(&self, met: &Met) -> bool {
        self.stage.was_calm(&met.weather)
    }

    /// Whether nobody else was about to put the object that this step puts.
    fn is_alone(&self, step: &Step, met: &Met) -> bool {
        let alone = met.since.is_alone() && self.stage.model().puts_since(step.object, met.since) <= 1;
        step.what != What::Put || alone
    }

    fn judge_lost(&self, step: &Step, met: &Met, why: &str) {
        let own_doing = match step.what {
            What::Put => matches!(step.body, Body::Short | Body::Excess),
            What::Lock => step.leaves,
            _ => false,
        };
        if self.was_calm(met) && !own_doing {
            let request = format!("{:?}", step.what);
            self.stage.judge("answers", oracle::answers::check_answered(&request, Err(why)));
        }
    }

    fn judge(&self, step: &Step, met: &Met, told: Told) {
        let (stage, object) = (&self.stage, step.object);
        let after = stage.holders(object);
        let (no_puts, no_removals) = {
            let model = stage.model();
            (model.no_puts(object, met.since), model.no_removals(object, met.since))
        };
        match told {
            Told::Present(told) => {
                let must = !met.must.is_disjoint(stage.model().must(object)) && self.was_calm(met);
                let may = !met.holders.is_empty() || !after.is_empty() || !no_puts || !no_removals;
                stage.judge("answers", oracle::answers::check_present(object, told, must, may));
            }
            Told::Object(Got { bytes, valid }) => {
                let there = valid.unwrap_or(!bytes.is_empty());
                if there {
                    let content = &stage.objects[object].content;
                    stage.judge("content", oracle::content::check_received(content, step.offset, &bytes));
                }
                let behind = step.offset >= stage.objects[object].content.len() as u64;
                let must = !met.must.is_disjoint(stage.model().must(object)) && self.was_calm(met) && !behind;
                stage.judge("answers", oracle::answers::check_present(object, there, must, true));
            }
            Told::Stored(named) => {
                if no_removals {
                    stage.judge("stored", oracle::stored::check_there(object, &named, &after));
                    let mut model = stage.model();
                    named.into_iter().for_each(|node| model.is_there(object, node));
                }
            }
            Told::NotStored => {
                // Whose upload goes on where bytes are wrong fails; the next one begins at the first byte (§5). Over HTTP,
                // where to begin is asked in a request of its own: what is removed in between is then missing.
                let spoilt = met.lack.is_subset(&met.spoilt);
                if self.was_calm(met) && self.is_alone(step, met) && no_removals && !spoilt {
                    stage.judge("answers", oracle::answers::check_answered("Put", Err("it is not stored")));
                }
            }
            Told::Removed(gone) => {
                if no_puts {
                    stage.judge("stored", oracle::stored::check_gone(object, &gone, &after));
                }
            }
            Told::Refused(why) => {
                // Two uploads of one object at a time are refused, and unknown clocks; anything else needs a reason.
                if self.was_calm(met) && self.is_alone(step, met) {
                    let request = format!("{:?}", step.what);
                    stage.judge("answers", oracle::answers::check_answered(&request, Err(&why)));
                }
            }
            Told::Nothing => {}
        }
    }
}

/// What a client was told.
enum Told {
    /// Whether the object is there.
    Present(bool),
    /// The object, or nothing.
    Object(Got),
    /// The object is on these nodes.
    Stored(BTreeSet<usize>),
    /// The object is not stored, though all of it was sent.
    NotStored,
    /// The object is no longer on these nodes.
    Removed(BTreeSet<usize>),
    /// The request is refused.
    Refused(String),
    /// Nothing that means anything.
    Nothing,
}

/// How a client comes to the gateway.
struct Door {
    client: u64,
    newest: u64,
    http: bool,
}

/// Makes a request, on a connection that is there or on a new one.
async fn request(
    stage: Arc<Stage>,
    door: Door,
    line: Option<Box<dyn Speak>>,
    step: Step,
) -> Result<(Box<dyn Speak>, Told), Lost> {
    let mut kept = None;
    if let Some(mut line) = line
        && !line.is_over().await?
    {
        kept = Some(line);
    }
    let newest = Version::new(door.newest).unwrap_or(Version::MAX);
    let mut line: Box<dyn Speak> = match kept {
        Some(line) => line,
        None if door.http => Box::new(Web::new(stage.clone(), door.client, step.node, newest)),
        None => Box::new(Line::meet(stage.knock(door.client, step.node), newest).await?),
    };
    let Object { key, content } = &stage.objects[step.object];
    let told = match step.what {
        What::Check => match line.ask(&Message::CheckPresent(key.clone())).await? {
            Message::Success => Told::Present(true),
            Message::Failure => Told::Present(false),
            other => refused(&other)?,
        },
        What::Get => match line.get(step.offset, key).await? {
            Ok(got) => Told::Object(got),
            Err(refusal) => refused(&refusal)?,
        },
        What::Put => {
            let under_way = UnderWay::put(&stage, step.object);
            let answer = line.put(key, content, step.body, step.pieces, step.leaves).await?;
            under_way.ended();
            match answer {
                Message::Success | Message::AlreadyHave => Told::Stored(step.node.into_iter().collect()),
                Message::SuccessPlus(named) | Message::AlreadyHavePlus(named) => {
                    Told::Stored(numbers(&stage, named).chain(step.node).collect())
                }
                Message::Failure | Message::FailurePlus(_) if step.body != Body::Whole => Told::Nothing,
                Message::Failure | Message::FailurePlus(_) => Told::NotStored,
                other => refused(&other)?,
            }
        }
        What::Remove => {
            let nodes = match step.node {
                Some(node) => [node].into(),
                None => (0..stage.nodes.len()).collect(),
            };
            remove(&stage, &mut *line, &step, nodes, None).await?
        }
        What::RemoveBefore => remove_before(&stage, &mut *line, &step).await?,
        What::Lock => return hold(&stage, line, &step).await,
    };
    Ok((line, told))
}

/// Removes an object that is on these nodes.
async fn remove(
    stage: &Arc<Stage>,
    line: &mut dyn Speak,
    step: &Step,
    nodes: BTreeSet<usize>,
    before: Option<i64>,
) -> Result<Told, Lost> {
    let key = stage.objects[step.object].key.clone();
    let request = match before {
        Some(limit) => Message::RemoveBefore(limit, key),
        None => Message::Remove(key),
    };
    let weather = stage.weather(nodes.iter().copied().map(Far::Node));
    let under_way = UnderWay::removal(stage, step.object, &nodes);
    let answer = line.ask(&request).await?;
    // Of a cluster's node that has not answered, nobody knows what it will still do.
    let done = matches!(answer, Message::Success | Message::SuccessPlus(_));
    if done || step.node.is_some() || stage.was_calm(&weather) {
        under_way.ended();
    }
    Ok(match answer {
        Message::Success | Message::SuccessPlus(_) => match step.node {
            Some(node) => Told::Removed([node].into()),
            None => Told::Removed((0..stage.nodes.len()).collect()),
        },
        Message::FailurePlus(named) => Told::Removed(numbers(stage, named).collect()),
        // It may be locked.
        Message::Failure => Told::Nothing,
        // Clocks may not be known.
        Message::Error(_) if before.is_some() => Told::Nothing,
        other => refused(&other)?,
    })
}

/// Asks for the time, waits, and removes the object if it is not too late by then.
async fn remove_before(stage: &Arc<Stage>, line: &mut dyn Speak, step: &Step) -> Result<Told, Lost> {
    let all: BTreeSet<_> = match step.node {
        Some(node) => [node].into(),
        None => (0..stage.nodes.len()).collect(),
    };
    if !line.version().has_timestamps() {
        return remove(stage, line, step, all, None).await;
    }
    let time = match line.ask(&Message::GetTimestamp).await? {
        Message::Timestamp(time) => time,
        other => return refused(&other),
    };
    let asked = stage.script.now();
    stage.script.sleep(Duration::from_millis(step.hold_ms)).await;
    // The clocks show whole seconds: until one more has passed, nobody can say that it is too late.
    let passed = (stage.script.now() - asked).as_secs() as i64;
    let late = passed > step.limit_s;
    let knows_limits = |node: &usize| stage.nodes[*node].version.has_timestamps();
    // When it is too late no node must do it that has a clock to go by.
    let nodes = all.into_iter().filter(|node| !late || !knows_limits(node)).collect();
    remove(stage, line, step, nodes, Some(time + step.limit_s)).await
}

/// Locks an object, and keeps it for a while.
async fn hold(
    stage: &Arc<Stage>,
    mut line: Box<dyn Speak>,
    step: &Step,
) -> Result<(Box<dyn Speak>, Told), Lost> {
    let key = stage.objects[step.object].key.clone();
    let until = stage.script.now() + RETENTION;
    match line.ask(&Message::LockContent(key)).await? {
        Message::Success => {}
        Message::Failure => return Ok((line, Told::Nothing)),
        other => return refused(&other).map(|told| (line, told)),
    }
    let Some(node) = step.node else {
        return Err(Lost::Wrong("a cluster has locked an object".into()));
    };
    let lock = stage.model().locked(step.object, node, until);
    stage.script.sleep(Duration::from_millis(step.hold_ms)).await;
    if step.leaves {
        return Err(Lost::Gone("the client hangs up with a lock".into()));
    }
    stage.model().unlocks(step.object, lock);
    line.unlock().await?;
    Ok((line, Told::Nothing))
}

/// A request that may change an object. Unless it is over, nobody knows what will have come of it.
struct UnderWay {
    stage: Arc<Stage>,
    object: usize,
    puts: bool,
}

impl UnderWay {
    fn put(stage: &Arc<Stage>, object: usize) -> UnderWay {
        stage.model().puts(object);
        UnderWay { stage: stage.clone(), object, puts: true }
    }

    fn removal(stage: &Arc<Stage>, object: usize, nodes: &BTreeSet<usize>) -> UnderWay {
        stage.model().removes(object, nodes);
        UnderWay { stage: stage.clone(), object, puts: false }
    }

    fn ended(self) {
        match self.puts {
            true => self.stage.model().has_put(self.object),
            false => self.stage.model().has_removed(self.object),
        }
    }
}

fn refused(message: &Message) -> Result<Told, Lost> {
    match message {
        Message::Error(text) => Ok(Told::Refused(String::from_utf8_lossy(text).into_owned())),
        other => Err(Lost::Wrong(format!("the gateway says {other:?}, which is no answer to that"))),
    }
}

/// The numbers of the nodes with these names.
fn numbers(stage: &Stage, named: Vec<Uuid>) -> impl Iterator<Item = usize> {
    named.into_iter().filter_map(|name| stage.nodes.iter().position(|node| node.uuid == name))
}
