//! The configuration of a gateway: a TOML file.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use pool::cluster::Settings;
use pool::cluster::directory::DirectoryLog;
use pool::gateway::{Gateway, Member, Way};
use pool::http::site::Site;
use pool::repository::Repository;
use pool::special::Special;
use pool::uuid::Uuid;
use runtime::Runtime;
use serde::Deserialize;

use super::child::Child;
use crate::annex::serve::password;
use crate::outcome::{Failure, without_secrets};

/// What the file has, for people.
pub const HELP: &str = r#"What the gateway is, and its nodes and clusters, in TOML:

  uuid = "UUID"                  # who the gateway is
  log = "DIR"                    # where it keeps which repository has which object
  clusterjobs = 1                # how many nodes one request to a cluster may be busy with at a time
  idle = 10                      # how many connections to nodes are kept when they are idle
  patience = 60                  # how many seconds a node may take for a step

  [[node]]
  name = "one"
  uuid = "UUID"                  # who the node is
  cost = 100                     # the cheaper are preferred
  command = ["git-annex-shell", "p2pstdio", "/srv/one", "GATEWAY'S UUID"]

  [[node]]
  name = "two"
  uuid = "UUID"
  url = "annex+http://host:9417/git-annex/UUID"
  user = "ann"                   # its password is in GIT_ANNEX_P2PHTTP_PASSWORD_ann in the environment

  [[node]]
  name = "three"
  uuid = "UUID"
  directory = "objects"          # other processes may serve it, too, if its file system locks files

  [[node]]
  name = "four"
  uuid = "UUID"
  special = "/mnt/store"         # git annex initremote NAME type=directory encryption=none directory=/mnt/store

  [[cluster]]
  uuid = "UUID"                  # begins with ac, and is of version 8
  nodes = ["one", "two"]

What another gateway has of a cluster is a node of it, too. It has the UUID of the cluster:

  [[node]]
  name = "over there"
  uuid = "UUID"
  gateway = "UUID"               # requests that have passed this gateway do not go back
  command = ["ssh", "host", "git-annex-shell", "p2pstdio", "/srv/gw", "UUID", "--uuid", "UUID"]

Paths begin where the file is."#;

/// A gateway, as somebody has described it.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    uuid: String,
    log: PathBuf,
    #[serde(default = "one")]
    clusterjobs: u32,
    #[serde(default = "ten")]
    idle: usize,
    #[serde(default = "minute")]
    patience: u64,
    #[serde(default, rename = "node")]
    nodes: Vec<Node>,
    #[serde(default, rename = "cluster")]
    clusters: Vec<Cluster>,
    /// Where the file is.
    #[serde(skip)]
    path: PathBuf,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Node {
    name: String,
    uuid: String,
    #[serde(default = "hundred")]
    cost: u32,
    command: Option<Vec<String>>,
    url: Option<String>,
    user: Option<String>,
    directory: Option<PathBuf>,
    special: Option<PathBuf>,
    gateway: Option<String>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Cluster {
    uuid: String,
    nodes: Vec<String>,
}

fn one() -> u32 {
    1
}

fn ten() -> usize {
    10
}

fn minute() -> u64 {
    60
}

fn hundred() -> u32 {
    100
}

impl Config {
    /// Reads a file.
    pub fn read(path: &Path) -> Result<Config, Failure> {
        let text = std::fs::read_to_string(path);
        let text = text.map_err(Failure::usage(format!("cannot read {}", path.display())))?;
        match toml::from_str::<Config>(&text) {
            Ok(config) => Ok(Config { path: path.to_owned(), ..config }),
            Err(error) => {
                let before = error.span().and_then(|span| text.get(..span.start));
                let line = before.map_or(1, |before| before.matches('\n').count() + 1);
                let why = error.message().split_whitespace().collect::<Vec<_>>().join(" ");
                Err(Failure::Usage(format!("{}, line {line}: {why}", path.display())))
            }
        }
    }

    /// Makes it.
    pub async fn open(self, runtime: &Runtime, clusterjobs: Option<u32>) -> Result<Gateway, Failure> {
        let uuid = self.uuid("the gateway", &self.uuid, false)?;
        let patience = Duration::from_secs(self.patience.clamp(1, 86400));
        let (mut members, mut beyond, mut names) = (Vec::new(), Vec::new(), BTreeMap::new());
        for node in &self.nodes {
            let member = self.member(runtime, node, patience).await?;
            if names.insert(node.name.as_str(), member.uuid.clone()).is_some() {
                return Err(self.wrong(format!("there are two nodes called `{}`", node.name)));
            }
            match self.beyond(node, &uuid)? {
                Some(gateway) => beyond.push((&node.name, gateway, member)),
                None => members.push(member),
            }
        }
        let mut clusters = BTreeMap::new();
        for cluster in &self.clusters {
            let uuid = self.uuid("a cluster", &cluster.uuid, true)?;
            let mut nodes = BTreeSet::new();
            for name in &cluster.nodes {
                let node = names.get(name.as_str());
                let node = node.ok_or_else(|| self.wrong(format!("there is no node called `{name}`")))?;
                if node.is_cluster() && *node != uuid {
                    return Err(self.wrong(format!("node `{name}` is of another cluster than {uuid}")));
                }
                nodes.extend(Some(node.clone()).filter(|node| !node.is_cluster()));
            }
            if cluster.nodes.is_empty() {
                return Err(self.wrong(format!("cluster {uuid} has no nodes")));
            }
            if clusters.insert(uuid, (nodes, &cluster.nodes)).is_some() {
                return Err(self.wrong(format!("cluster {} is there twice", cluster.uuid)));
            }
        }
        let root = self.below(&self.log);
        let log = DirectoryLog::open(runtime.clone(), &root).await;
        let log = log.map_err(Failure::usage(format!("cannot use {}", root.display())))?;
        let jobs = clusterjobs.unwrap_or(self.clusterjobs) as usize;
        let settings = Settings { jobs, patience, located: Arc::new(log) };
        let mut gateway = Gateway::new(runtime.clone(), uuid, settings, self.idle);
        members.into_iter().for_each(|member| gateway.add(member));
        for (uuid, (nodes, named)) in clusters {
            gateway.add_cluster(uuid.clone(), nodes.into_iter().collect());
            for (_, other, member) in beyond.extract_if(.., |(name, ..)| named.contains(*name)) {
                gateway.add_cluster_through(uuid.clone(), other, member);
            }
        }
        match beyond.first() {
            Some((name, ..)) => {
                Err(self.wrong(format!("node `{name}` is a part of a cluster, and no [[cluster]] names it")))
            }
            None => Ok(gateway),
        }
    }

    async fn member(&self, runtime: &Runtime, node: &Node, patience: Duration) -> Result<Member, Failure> {
        let uuid = self.uuid(&format!("node `{}`", node.name), &node.uuid, node.gateway.is_some())?;
        let wrong = |why: &str| self.wrong(format!("node `{}`: {why}", node.name));
        if node.user.is_some() && node.url.is_none() {
            return Err(wrong("a user is for a url"));
        }
        let way = match (&node.command, &node.url, &node.directory, &node.special) {
            (Some(words), None, None, None) => {
                let (program, arguments) =
                    words.split_first().ok_or_else(|| wrong("its command is empty"))?;
                let (program, arguments) = (program.clone(), arguments.to_vec());
                Way::Dial(Arc::new(Child {
                    runtime: runtime.clone(),
                    uuid: uuid.clone(),
                    program,
                    arguments,
                    patience,
                }))
            }
            (None, Some(url), None, None) => {
                let site: Site =
                    url.parse().map_err(|why| wrong(&format!("{}: {why}", without_secrets(url))))?;
                if site.server != uuid {
                    return Err(wrong(&format!("its url is that of {}", site.server)));
                }
                let login = node.user.as_ref().map(|user| match password(user) {
                    Some(password) => Ok((user.clone(), password)),
                    None => Err(wrong(&format!(
                        "there is no GIT_ANNEX_P2PHTTP_PASSWORD_{user} in the environment"
                    ))),
                });
                Way::Http(site, login.transpose()?)
            }
            (None, None, Some(directory), None) => {
                let directory = self.below(directory);
                let opened = Repository::open(runtime.clone(), uuid.clone(), &directory).await;
                let opened = opened.map_err(Failure::usage(format!("cannot use {}", directory.display())))?;
                Way::Here(Box::new(move || Box::new(opened.peer())))
            }
            (None, None, None, Some(directory)) => {
                // It may be on a disk that is not there now.
                let special = Special::new(runtime.clone(), uuid.clone(), &self.below(directory));
                Way::Here(Box::new(move || Box::new(special.peer())))
            }
            _ => return Err(wrong("it needs one of command, url, directory and special")),
        };
        Ok(Member { uuid, cost: node.cost, way })
    }

    /// The gateway that a node is reached through, if it is what that has of a cluster.
    fn beyond(&self, node: &Node, own: &Uuid) -> Result<Option<Uuid>, Failure> {
        let Some(gateway) = &node.gateway else { return Ok(None) };
        let gateway = self.uuid(&format!("the gateway of node `{}`", node.name), gateway, false)?;
        match gateway == *own {
            true => Err(self.wrong(format!("the gateway of node `{}` is this one", node.name))),
            false => Ok(Some(gateway)),
        }
    }

    /// A repository's name, or a cluster's: neither may be taken for the other (annex-p2p §8.1).
    fn uuid(&self, whose: &str, text: &str, cluster: bool) -> Result<Uuid, Failure> {
        let uuid = Uuid::new(text).ok_or_else(|| self.wrong(format!("{whose}: `{text}` is no UUID")))?;
        match (uuid.is_cluster(), cluster) {
            (true, false) => Err(self.wrong(format!("{whose}: {uuid} is a cluster's UUID"))),
            (false, true) => Err(self.wrong(format!(
                "{whose}: {uuid} is no cluster's UUID, which begins with ac and is of version 8"
            ))),
            _ => Ok(uuid),
        }
    }

    fn below(&self, path: &Path) -> PathBuf {
        self.path.parent().unwrap_or(Path::new("")).join(path)
    }

    fn wrong(&self, why: String) -> Failure {
        Failure::Usage(format!("{}: {why}", self.path.display()))
    }
}
