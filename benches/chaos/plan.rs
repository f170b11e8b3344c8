//! What is run, how long and how hard.

use std::path::{Path, PathBuf};
use std::time::Duration;

/// Where sessions are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Store {
    Disk,
    Redis,
    Sentinel,
}

/// Something broken on purpose, to prove that the run notices.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sabotage {
    /// The provider spends refresh tokens that it has just given out.
    RotatesTwice,
    /// A thief sends a spent refresh token.
    Replay,
    /// Revocations are confirmed and not made.
    RevocationIgnored,
    /// A request goes to the application past the gateways.
    Bypass,
    /// The store forgets its sessions.
    Forget,
}

const SABOTAGES: [(&str, Sabotage); 5] = [
    ("rotates-twice", Sabotage::RotatesTwice),
    ("replay", Sabotage::Replay),
    ("revocation-ignored", Sabotage::RevocationIgnored),
    ("bypass", Sabotage::Bypass),
    ("forget", Sabotage::Forget),
];

#[derive(Clone, Debug)]
pub struct Plan {
    pub smoke: bool,
    pub seed: u64,
    pub only: Vec<String>,
    pub store: Store,
    pub nodes: usize,
    pub program: PathBuf,
    pub json: Option<PathBuf>,
    pub sabotage: Option<Sabotage>,
    /// A sign-out must be in force on every node so long after it was confirmed.
    pub spread: Duration,
}

pub const USAGE: &str = "\
./chaos [--smoke] [--dev] [--only NAME]... [--seed N] [--json FILE] [--sabotage NAME] [--store redis|disk] [--nodes N]

  --smoke      under 90 seconds: proves that the run works, with few sessions
  --dev        the gateways are the development build (--smoke: always)
  --only       one scenario: steady, stampede, expiry, logout-race, kill, idp, redis, sentinel, logout-spread, revoke, all
  --seed       the choices of an earlier run
  --json       the raw figures
  --sabotage   break something on purpose; the run must fail: rotates-twice, replay, revocation-ignored, bypass, forget
";

impl Plan {
    pub fn read() -> Result<Self, String> {
        let nanos = std::time::UNIX_EPOCH
            .elapsed()
            .map_or(1, |since| since.subsec_nanos());
        let mut plan = Self {
            smoke: false,
            seed: u64::from(nanos),
            only: Vec::new(),
            store: Store::Redis,
            nodes: 3,
            program: PathBuf::from(env!("CARGO_BIN_EXE_tidegate")),
            json: None,
            sabotage: None,
            spread: Duration::from_millis(100),
        };
        let mut arguments = std::env::args().skip(1);
        while let Some(argument) = arguments.next() {
            let mut value = || arguments.next().ok_or(format!("{argument} what?"));
            match argument.as_str() {
                "--smoke" => plan.smoke = true,
                "--only" => plan.only.push(value()?),
                "--seed" => plan.seed = value()?.parse().map_err(|_| "--seed N")?,
                "--json" => plan.json = Some(value()?.into()),
                "--nodes" => plan.nodes = value()?.parse().map_err(|_| "--nodes N")?,
                "--program" => {
                    let program = Path::new(&value()?).canonicalize();
                    plan.program = program.map_err(|why| why.to_string())?;
                }
                "--store" => plan.store = store(&value()?)?,
                "--sabotage" => plan.sabotage = Some(sabotage(&value()?)?),
                // What cargo adds.
                "--bench" => {}
                other => return Err(format!("not known: {other}")),
            }
        }
        if plan.smoke {
            // With two scenarios at a time, on a machine that builds something else too, the figure means little.
            plan.spread *= 5;
        }
        if plan.store == Store::Disk {
            plan.nodes = 1;
        }
        Ok(plan)
    }

    /// The one for the full run, or the one for the smoke run.
    pub fn choose<T>(&self, full: T, smoke: T) -> T {
        if self.smoke { smoke } else { full }
    }

    pub fn seconds(&self, full: u64, smoke: u64) -> Duration {
        Duration::from_secs(self.choose(full, smoke))
    }

    pub fn wants(&self, name: &str) -> bool {
        self.only.is_empty() || self.only.iter().any(|only| only == name)
    }
}

fn store(name: &str) -> Result<Store, String> {
    match name {
        "disk" => Ok(Store::Disk),
        "redis" => Ok(Store::Redis),
        other => Err(format!("no such store: {other}")),
    }
}

fn sabotage(name: &str) -> Result<Sabotage, String> {
    let known = SABOTAGES.iter().find(|(known, _)| *known == name);
    known
        .map(|(_, sabotage)| *sabotage)
        .ok_or(format!("no such sabotage: {name}"))
}
