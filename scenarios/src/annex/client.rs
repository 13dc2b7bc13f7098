//! A client: goes through its steps, tells the model what it asks and what it is answered, and has the oracles judge that.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use pool::message::Message;
use pool::uuid::Uuid;
use pool::version::Version;

use super::line::{Got, Line, Lost, Speak};
use super::link::{Far, STALL};
use super::met::Met;
use super::oracle;
use super::stage::{Stage, Weather};
use super::web::Web;
use super::workload::{Body, ClientPlan, Object, Step, What};

/// How long a client waits for the end of a request, besides what it takes its own time for.
pub const PATIENCE: Duration = Duration::from_secs(300);
/// For how long a lock keeps an object when its holder is lost.
const RETENTION: Duration = Duration::from_secs(600);

/// How long it may take until a node learns that an upload will not come to its end, unless a link stands still.
const BUSY: Duration = Duration::from_secs(60);
/// A limit that has no more left than this, in seconds, may be over for good reasons.
const MARGIN_S: i64 = 30;

/// A client of the gateway.
pub struct Client {
    stage: Arc<Stage>,
    number: u64,
    plan: ClientPlan,
    limit: usize,
    line: Option<(Box<dyn Speak>, Option<usize>)>,
}

impl Client {
    /// A client with that plan. The gateway keeps `limit` connections.
    pub fn new(stage: Arc<Stage>, number: u64, plan: ClientPlan, limit: usize) -> Client {
        Client { stage, number, plan, limit, line: None }
    }

    /// Does all its steps.
    pub async fn live(mut self) {
        for (nth, step) in self.plan.clone().all_steps().enumerate() {
            self.stage.script.sleep(Duration::from_millis(step.after_ms)).await;
            self.take(nth as u64, step).await;
            self.stage.check_disks();
            self.stage.check_counts(self.limit);
        }
    }

    /// One request. True when it was answered as it is when all is well.
    pub async fn take(&mut self, nth: u64, step: &Step) -> bool {
        let (stage, met) = (self.stage.clone(), Met::now(&self.stage, self.number, self.plan.http, step));
        let mut asking = stage.traffic.ask();
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
                asking.is_heard();
                stage.check_connects(&asking);
                self.judge(step, &met, told);
                self.line = Some((line, step.node)).filter(|_| !step.leaves);
                true
            }
            Ok(Ok(Err(Lost::Wrong(why)))) if self.is_garbled(&met) => {
                self.judge_lost(step, &met, &why);
                false
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

    fn judge_lost(&self, step: &Step, met: &Met, why: &str) {
        let own_doing = match step.what {
            What::Put => matches!(step.body, Body::Short | Body::Excess),
            What::Lock => step.leaves,
            _ => false,
        };
        if met.must_be_answered(&self.stage, step) && !own_doing {
            let request = format!("{:?}", step.what);
            self.stage.judge("answers", oracle::answers::check_answered(&request, Err(why)));
        }
    }

    /// Whether what was said may have become something else on its way.
    fn is_garbled(&self, met: &Met) -> bool {
        self.stage.garbles && !met.was_calm(&self.stage)
    }

    fn judge(&self, step: &Step, met: &Met, told: Told) {
        if self.is_garbled(met) {
            return;
        }
        let (stage, object) = (&self.stage, step.object);
        let after = stage.holders(object);
        let (no_puts, no_removals) = {
            let model = stage.model();
            (model.no_puts(object, met.since), model.no_removals(object, met.since))
        };
        let ended = matches!(told, Told::Stored(_) | Told::NotStored);
        if ended {
            let left = met.left(stage, step);
            stage.judge("stored", oracle::stored::check_discarded(object, &left));
        }
        match told {
            Told::Present(told) => {
                let must = met.is_still_there(stage, step);
                let may = !met.holders.is_empty() || !after.is_empty() || !no_puts || !no_removals;
                stage.judge("answers", oracle::answers::check_present(object, told, must, may));
            }
            Told::Object(Got { bytes, valid }) => {
                let there = valid.unwrap_or(!bytes.is_empty());
                // Where there are no verdicts, and with nodes that give none, nobody says that what has rotted is right.
                if there && !(stage.rots() && (valid.is_none() || step.offset > 0)) {
                    let content = &stage.objects[object].content;
                    stage.judge("content", oracle::content::check_received(content, step.offset, &bytes));
                }
                let behind = step.offset >= stage.objects[object].content.len() as u64;
                let must = met.must_be_there(stage, step) && !behind;
                stage.judge("answers", oracle::answers::check_present(object, there, must, true));
            }
            Told::Stored(named) => {
                named.iter().for_each(|node| stage.model().was_there(object, *node));
                if no_removals {
                    stage.judge("stored", oracle::stored::check_there(object, &named, &after));
                    let mut model = stage.model();
                    named.into_iter().for_each(|node| model.is_there(object, node));
                }
            }
            Told::NotStored => {
                if met.must_be_stored(stage, step) {
                    stage.judge("answers", oracle::answers::check_answered("Put", Err("it is not stored")));
                }
            }
            Told::Kept(from) => {
                let length = stage.objects[object].content.len() as u64;
                if let Some(from) = from.filter(|_| met.must_be_kept(stage, step)) {
                    stage.judge("stored", oracle::stored::check_kept(object, length, from));
                }
            }
            Told::Removed(gone) => {
                if no_puts {
                    stage.judge("stored", oracle::stored::check_gone(object, &gone, &after));
                }
            }
            Told::Refused(why) => {
                let can_be_answered = match step.what {
                    What::Remove | What::RemoveBefore => met.was_calm(stage),
                    What::Check => met.can_be_said(stage, step),
                    What::Get | What::Put | What::Lock => true,
                };
                if met.must_be_answered(stage, step) && can_be_answered {
                    let request = format!("{:?}", step.what);
                    stage.judge("answers", oracle::answers::check_answered(&request, Err(&why)));
                }
            }
            Told::NotRemoved => {
                if met.must_be_removed(stage, step) {
                    let request = format!("{:?}", step.what);
                    stage.judge(
                        "answers",
                        oracle::answers::check_answered(&request, Err("it is not removed")),
                    );
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
    /// What came was too much, and would be gone on with from here.
    Kept(Option<u64>),
    /// The object is no longer on these nodes.
    Removed(BTreeSet<usize>),
    /// The object is not removed, though it was not too late for that.
    NotRemoved,
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
            let under_way = UnderWay::put(&stage, door.client, &step);
            let answer = line.put(key, content, step.body, step.pieces, step.leaves).await?;
            // Over HTTP a request that fails is answered before the nodes have learned of it.
            if !door.http || is_done(&answer) {
                under_way.ended();
            }
            match answer {
                Message::Success | Message::AlreadyHave => Told::Stored(step.node.into_iter().collect()),
                Message::SuccessPlus(named) | Message::AlreadyHavePlus(named) => {
                    Told::Stored(numbers(&stage, named).chain(step.node).collect())
                }
                Message::Failure | Message::FailurePlus(_) if step.body == Body::Excess => {
                    Told::Kept(line.offset(key).await?)
                }
                Message::Failure | Message::FailurePlus(_) if step.body != Body::Whole => Told::Nothing,
                Message::Failure | Message::FailurePlus(_) => Told::NotStored,
                Message::Error(_) if step.body == Body::Mute => Told::Nothing,
                other => refused(&other)?,
            }
        }
        What::Remove => {
            let nodes = stage.numbers(step.node);
            remove(&stage, &mut *line, &door, &step, nodes, None).await?
        }
        What::RemoveBefore => remove_before(&stage, &mut *line, &door, &step).await?,
        What::Lock => return hold(&stage, door.client, line, &step).await,
    };
    Ok((line, told))
}

/// Removes an object that is on these nodes.
async fn remove(
    stage: &Arc<Stage>,
    line: &mut dyn Speak,
    door: &Door,
    step: &Step,
    nodes: BTreeSet<usize>,
    before: Option<i64>,
) -> Result<Told, Lost> {
    let key = stage.objects[step.object].key.clone();
    let request = match before {
        Some(limit) => Message::RemoveBefore(limit, key),
        None => Message::Remove(key),
    };
    let under_way = UnderWay::removal(stage, door.client, step, &nodes);
    let answer = line.ask(&request).await?;
    if is_done(&answer) {
        under_way.done();
    } else if !(door.http && matches!(answer, Message::Error(_))) {
        // Over HTTP an error may be that there is no answer.
        under_way.ended();
    }
    Ok(match answer {
        Message::Success | Message::SuccessPlus(_) => Told::Removed(stage.numbers(step.node)),
        Message::FailurePlus(named) => Told::Removed(numbers(stage, named).collect()),
        // Of the nodes that must not remove it some do not.
        Message::Failure if nodes != stage.numbers(step.node) => Told::Nothing,
        Message::Failure if before.is_some() && step.limit_s < step.hold_ms as i64 / 1000 + MARGIN_S => {
            Told::Nothing
        }
        Message::Failure => Told::NotRemoved,
        // Clocks may not be known.
        Message::Error(_) if before.is_some() => Told::Nothing,
        other => refused(&other)?,
    })
}

/// Asks for the time, waits, and removes the object if it is not too late by then.
async fn remove_before(
    stage: &Arc<Stage>,
    line: &mut dyn Speak,
    door: &Door,
    step: &Step,
) -> Result<Told, Lost> {
    let all = stage.numbers(step.node);
    if !line.version().has_timestamps() {
        return remove(stage, line, door, step, all, None).await;
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
    let knows_limits =
        |node: &usize| stage.nodes[*node].is_special || stage.nodes[*node].version.has_timestamps();
    // When it is too late no node must do it that has a clock to go by.
    let nodes = all.into_iter().filter(|node| !late || !knows_limits(node)).collect();
    remove(stage, line, door, step, nodes, Some(time + step.limit_s)).await
}

/// Locks an object, and keeps it for a while.
async fn hold(
    stage: &Arc<Stage>,
    client: u64,
    mut line: Box<dyn Speak>,
    step: &Step,
) -> Result<(Box<dyn Speak>, Told), Lost> {
    let key = stage.objects[step.object].key.clone();
    let until = stage.script.now() + RETENTION;
    stage.model().locks(step.object, stage.script.now());
    match line.ask(&Message::LockContent(key)).await? {
        Message::Success => {}
        Message::Failure => return Ok((line, Told::Nothing)),
        other => return refused(&other).map(|told| (line, told)),
    }
    let Some(node) = step.node else {
        return Err(Lost::Wrong("a cluster has locked an object".into()));
    };
    let lock = stage.model().locked(step.object, node, until);
    let weather = stage.weather([Far::Client(client), Far::Node(node)]);
    stage.script.sleep(Duration::from_millis(step.hold_ms)).await;
    if stage.was_calm(&weather) {
        // It is there for as long as somebody keeps it, however long that is.
        let kept = BTreeSet::from([node]);
        stage.judge("locks", oracle::locks::check_kept(step.object, &kept, &stage.holders(step.object)));
    }
    stage.model().locks(step.object, stage.script.now());
    if step.leaves {
        return Err(Lost::Gone("the client hangs up with a lock".into()));
    }
    stage.model().unlocks(step.object, lock);
    line.unlock().await?;
    Ok((line, Told::Nothing))
}

/// A request that may change an object. Unless it comes to its end, nobody knows what will have come of it.
struct UnderWay {
    stage: Arc<Stage>,
    object: usize,
    puts: bool,
    /// How it was with the client, and with the nodes.
    client: Weather,
    nodes: Weather,
    alone: bool,
    /// Its client hangs up in the middle of it.
    breaks_off: bool,
    over: bool,
}

impl UnderWay {
    fn put(stage: &Arc<Stage>, client: u64, step: &Step) -> UnderWay {
        stage.model().puts(step.object);
        UnderWay::new(stage, client, step, true)
    }

    fn removal(stage: &Arc<Stage>, client: u64, step: &Step, nodes: &BTreeSet<usize>) -> UnderWay {
        stage.model().removes(step.object, nodes);
        UnderWay::new(stage, client, step, false)
    }

    fn new(stage: &Arc<Stage>, client: u64, step: &Step, puts: bool) -> UnderWay {
        UnderWay {
            stage: stage.clone(),
            object: step.object,
            puts,
            client: stage.weather([Far::Client(client)]),
            nodes: stage.weather(stage.numbers(step.node).into_iter().map(Far::Node)),
            alone: step.node.is_some(),
            breaks_off: puts && matches!(step.body, Body::Short | Body::Excess),
            over: false,
        }
    }

    /// It was answered. Of a cluster's node that something was wrong with, nobody knows what it will still do.
    fn ended(mut self) {
        self.over = self.alone || self.stage.was_calm(&self.nodes);
    }

    /// It was done everywhere.
    fn done(mut self) {
        self.over = true;
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        // A link can come to a standstill with what is still on it when its client has hung up.
        let calm = self.stage.was_calm(&self.client) && !self.breaks_off;
        let busy = if calm { BUSY } else { BUSY + STALL };
        let lost = (!self.over).then(|| self.stage.script.now() + busy);
        match self.puts {
            true => self.stage.model().has_put(self.object, lost),
            false => self.stage.model().has_removed(self.object, lost.is_some()),
        }
    }
}

fn is_done(answer: &Message) -> bool {
    use Message::{AlreadyHave, AlreadyHavePlus, Success, SuccessPlus};
    matches!(answer, Success | SuccessPlus(_) | AlreadyHave | AlreadyHavePlus(_))
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
