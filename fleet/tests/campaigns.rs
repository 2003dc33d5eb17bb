//! Whole campaigns over whole fleets, simulated from a seed: devices that sleep, fail, roll back, fall
//! silent and lose power; people who pause, resume, retry and cancel; a server whose effects are lost
//! because it was killed right after a commit.
//!
//! ```text
//! CAMPAIGNS=10000 cargo test --release -p freshen-fleet --test campaigns
//! SEED=4711 CAMPAIGNS=1 cargo test -p freshen-fleet --test campaigns
//! ```

#![allow(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use freshen_fleet::plan::campaign::{
    AbortRule, Action, Campaign, Counts, Place, Policy, Scope, State as Does, WavePolicy, Why,
};
use freshen_fleet::plan::explain::{self, Candidate, Wait};
use freshen_fleet::plan::failure::{Class, Failure};
use freshen_fleet::plan::judge;
use freshen_fleet::plan::queue::Interval;
use freshen_fleet::plan::step::{self, Approver, Effect, Health, Move};
use freshen_fleet::plan::time::Time;
use freshen_fleet::plan::update::{self, Input, Mode, Phase, Retry, Rules, State, Update};
use freshen_fleet::plan::wave::{self, Choice};
use freshen_fleet::plan::window::{Activity, Clock, Day, Offset, Window, Windows};
use freshen_fleet::plan::words::PackageId;

/// How many campaigns the ordinary run has.
const CAMPAIGNS: u64 = 400;

/// How many rounds of trouble, before the weather clears.
const ROUNDS_OF_TROUBLE: u32 = 300;

/// How many rounds a campaign has to end then.
const ROUNDS_OF_CALM: u32 = 30_000;

#[derive(Clone)]
struct Random(u64);

impl Random {
    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, n: u64) -> u64 {
        self.next() % n
    }

    fn percent(&mut self, n: u64) -> bool {
        self.below(100) < n
    }

    fn one<T: Clone>(&mut self, of: &[T]) -> T {
        of[self.below(of.len() as u64) as usize].clone()
    }
}

/// What a device does when nobody disturbs it.
#[derive(Clone, Copy, PartialEq, Debug)]
enum Doing {
    Nothing,
    Downloading(u64),
    Waiting,
    Installing(u64),
    /// It restarts, and then runs this or does not.
    Restarted,
}

struct Device {
    doing: Doing,
    runs: BTreeSet<PackageId>,
    offset: Offset,
    /// How bad it is, in percent of the occasions.
    trouble: u64,
}

struct World {
    random: Random,
    now: Time,
    policy: Policy,
    campaign: Campaign,
    /// Everybody whom the campaign means, with the wave and the update.
    updates: BTreeMap<u32, (usize, Update)>,
    devices: BTreeMap<u32, Device>,
    calm: bool,
    orders: u64,
}

fn package(version: &str) -> PackageId {
    PackageId::new("ivi", version).unwrap()
}

fn policy(random: &mut Random, now: Time) -> Policy {
    let mut waves: Vec<WavePolicy> = (0..random.below(4))
        .map(|_| WavePolicy {
            choice: match random.below(4) {
                0 => Choice::Number(random.below(5) as u32),
                1 => Choice::RecentlySeen(random.below(5) as u32),
                _ => Choice::Percent(1 + random.below(30) as u8),
            },
            success_percent: 1 + random.below(100) as u8,
            soak_ms: random.below(3) * 3_600_000,
            health: random.percent(20),
        })
        .collect();
    waves.push(WavePolicy {
        success_percent: random.one(&[0, 0, 50, 100]),
        ..WavePolicy::default()
    });
    let abort = (0..random.below(3))
        .map(|_| AbortRule {
            class: random.percent(50).then(|| random.one(&Class::ALL)),
            percent: 1 + random.below(100) as u8,
            minimum_executed: 1 + random.below(6),
            scope: random.one(&[Scope::Wave, Scope::Campaign]),
            action: random.one(&[Action::Pause, Action::Pause, Action::Cancel]),
        })
        .collect();
    let windows = |random: &mut Random| -> Vec<Window> {
        if random.percent(60) {
            return vec![];
        }
        let days = [
            Day::Monday,
            Day::Tuesday,
            Day::Wednesday,
            Day::Thursday,
            Day::Friday,
            Day::Saturday,
            Day::Sunday,
        ];
        let minute = random.below(1_440) as u16;
        days.map(|day| Window { day, minute, minutes: 240 }).to_vec()
    };
    let retries =
        Class::ALL.iter().filter(|class| class.may_be_retried()).filter(|_| random.percent(50));
    let retries: Vec<Retry> = retries
        .map(|class| Retry { class: *class, attempts: 3, first_ms: 600_000, most_ms: 7_200_000 })
        .collect();
    let join = random.percent(20);
    let days = |n: u64| Duration::from_secs(n * 86_400);
    let not_after = (join || random.percent(30)).then(|| now + days(2 + random.below(40)));
    let not_before = random.percent(30).then(|| now + days(random.below(2)));
    let policy = Policy {
        interval: Interval::new(not_before, not_after).unwrap(),
        waves,
        abort,
        at_once: random.percent(40).then(|| 1 + random.below(5)),
        starts_per_minute: random.percent(30).then(|| 1 + random.below(3) as u32),
        bytes_per_second: random.percent(30).then(|| 1 + random.below(1_000)),
        windows: Windows {
            clock: random.one(&[Clock::Utc, Clock::Device]),
            download: windows(random),
            install: windows(random),
        },
        join,
        approval: random.percent(20),
        retry_budget: random.one(&[0, 3, 1_000]),
        update: Rules {
            mode: random.one(&[Mode::Forced, Mode::Forced, Mode::Soft, Mode::DownloadOnly]),
            reinstall: random.percent(10),
            silence_ms: 3_600_000 * (6 + random.below(48)),
            retries,
        },
        ..Policy::default()
    };
    // Shares that are too many make a policy that is refused, which is no campaign.
    if policy.check().is_ok() {
        policy
    } else {
        Policy { waves: vec![WavePolicy::default()], ..policy }
    }
}

impl World {
    fn new(seed: u64) -> Self {
        let mut random = Random(seed);
        let now = Time::from_secs(1_790_000_000 + random.below(1_000_000) as i64);
        let policy = policy(&mut random, now);
        let trouble = random.one(&[0, 3, 10, 40]);
        let devices: BTreeMap<u32, Device> = (0..5 + random.below(20) as u32)
            .map(|number| {
                let device = Device {
                    doing: Doing::Nothing,
                    runs: [package("1")].into(),
                    offset: Offset(random.below(24) as i16 * 60 - 720),
                    trouble,
                };
                (number, device)
            })
            .collect();
        // Not everybody is meant.
        let meant = devices.keys().copied().filter(|_| random.percent(80)).collect();
        let fleet =
            wave::Fleet { number: &|_| None, seen: &|number| Some(Time::from_secs(number.into())) };
        let choices: Vec<&Choice> = policy.waves.iter().map(|wave| &wave.choice).collect();
        let waves = wave::assign(&choices, &meant, &fleet, seed);
        let updates = (0..)
            .zip(&waves)
            .flat_map(|(n, wave)| wave.iter().map(move |number| (number, n)))
            .map(|(number, wave)| (number, (wave, Update::new(package("2"), now))))
            .collect();
        let campaign = Campaign::new(&waves.iter().map(|wave| wave.len()).collect::<Vec<_>>());
        Self { random, now, policy, campaign, updates, devices, calm: false, orders: 0 }
    }

    /// Decide, commit, adopt; then what belongs to the same transaction.
    fn campaign(&mut self, input: &step::Input) -> bool {
        let Ok(step) = step::step(&self.campaign, input, &self.policy, self.now) else {
            return false;
        };
        let before = std::mem::replace(&mut self.campaign, step.next);
        for effect in &step.effects {
            match effect {
                Effect::CancelPending => self.sweep(&Input::Cancel),
                Effect::ExpirePending => self.sweep(&Input::Expire),
                Effect::Begin(wave) => self.begins(*wave, &before),
                _ => {}
            }
        }
        self.check();
        true
    }

    fn sweep(&mut self, input: &Input) {
        for (_, update) in
            self.updates.values_mut().filter(|(_, update)| update.state == State::Pending)
        {
            let budget = self.campaign.budget(&self.policy);
            *update =
                update::step(update, input, &self.policy.update, budget, self.now).unwrap().next;
        }
    }

    /// A failing wave never lets the next begin.
    fn begins(&self, wave: usize, before: &Campaign) {
        assert_eq!(before.begun.max(wave), wave, "waves begin one after the other");
        for n in 0..wave {
            let counts = self.recount(n).0;
            let meant = counts.total() - counts.cancelled;
            let percent = u64::from(self.policy.waves[n].success_percent);
            assert!((meant - counts.failed) * 100 >= meant * percent, "wave {n} fails: {counts:?}");
            if n + 1 == wave {
                assert!(
                    counts.completed * 100 >= meant * percent,
                    "wave {n} is not done: {counts:?}"
                );
            }
        }
        assert_eq!(self.campaign_state_at_begin(), Does::Running);
    }

    fn campaign_state_at_begin(&self) -> Does {
        // What follows in the same step may have stopped it again.
        match self.campaign.state {
            Does::Finished | Does::Paused(_) | Does::Cancelled => Does::Running,
            state => state,
        }
    }

    fn recount(&self, wave: usize) -> (Counts, BTreeMap<Class, u64>) {
        let (mut counts, mut failures) = (Counts::default(), BTreeMap::new());
        for (_, update) in self.updates.values().filter(|(n, _)| *n == wave) {
            match &update.state {
                State::Pending => counts.pending += 1,
                State::InFlight(_) => counts.in_flight += 1,
                State::Completed => counts.completed += 1,
                State::Failed(failure) => {
                    counts.failed += 1;
                    *failures.entry(failure.class()).or_default() += 1;
                }
                State::Cancelled(_) => counts.cancelled += 1,
            }
        }
        (counts, failures)
    }

    fn check(&self) {
        let mut total = 0;
        for (n, wave) in self.campaign.waves.iter().enumerate() {
            let (counts, failures) = self.recount(n);
            assert_eq!(wave.counts, counts, "the counts of wave {n} are a recount");
            assert_eq!(wave.failures, failures, "the failures of wave {n} are a recount");
            total += counts.total();
        }
        assert_eq!(total, self.updates.len() as u64, "the five counts add up to everybody");
        if let Some(limit) = self.policy.at_once {
            // A retry by hand may come on top of nothing: the limit is for beginning.
            assert!(self.campaign.counts().in_flight <= limit, "more than {limit} at once");
        }
    }

    fn place(&self, number: u32) -> Place {
        (&self.updates[&number].1.state).into()
    }

    /// Something happens to an update: both it and its campaign move in one transaction.
    fn apply(&mut self, number: u32, input: &Input) {
        let Some((wave, update)) = self.updates.get(&number).cloned() else { return };
        let budget = self.campaign.budget(&self.policy);
        let result = update::step(&update, input, &self.policy.update, budget, self.now);
        let Ok(step) = result else { return };
        if step.next.state == State::Completed && update.state != State::Completed {
            let seen =
                self.devices.get(&number).is_some_and(|device| device.runs.contains(&package("2")));
            assert!(seen || self.policy.update.mode == Mode::DownloadOnly, "completed means seen");
        }
        let from = self.place(number);
        let to = (&step.next.state).into();
        if from == to {
            self.updates.insert(number, (wave, step.next));
            return;
        }
        let moved = Move { wave, from, to, devices: 1, bytes: 10_000 };
        let moved = step::Input::Moved(moved);
        if step::step(&self.campaign, &moved, &self.policy, self.now).is_ok() {
            self.updates.insert(number, (wave, step.next));
            assert!(self.campaign(&moved));
        }
    }

    /// The server's round for a device that is connected.
    fn serve(&mut self, number: u32) {
        let Some((wave, update)) = self.updates.get(&number).cloned() else { return };
        let device = &self.devices[&number];
        let (doing, offset) = (device.doing, device.offset);
        match update.state {
            State::Pending => {
                let candidate = Candidate { wave, offset, not_before: update.not_before };
                if explain::may_begin(&self.campaign, &self.policy, &candidate, self.now).is_ok() {
                    self.ordered(Activity::Download, offset, wave);
                    self.apply(number, &Input::Notified);
                    self.send(number, Doing::Downloading(1 + number as u64 % 3));
                }
            }
            State::InFlight(Phase::Notified | Phase::Downloading) if doing == Doing::Nothing => {
                // It was told, and forgot, or never heard it: the line was cut.
                self.send(number, Doing::Downloading(1 + number as u64 % 3));
            }
            State::InFlight(Phase::Downloaded) => {
                if explain::may_install(&self.campaign, &self.policy, offset, self.now).is_ok() {
                    self.ordered(Activity::Install, offset, wave);
                    let next = if doing == Doing::Nothing {
                        Doing::Downloading(1)
                    } else {
                        Doing::Installing(1)
                    };
                    self.send(number, next);
                } else {
                    self.apply(number, &Input::Held);
                }
            }
            State::InFlight(_) if doing == Doing::Nothing => {
                let runs = self.devices[&number].runs.clone();
                self.apply(number, &Input::Running(runs));
            }
            State::Cancelled(_) if matches!(doing, Doing::Downloading(_) | Doing::Waiting) => {
                self.send(number, Doing::Nothing);
            }
            _ => {}
        }
    }

    /// No device is ordered while paused, outside its window, or before its wave.
    fn ordered(&mut self, activity: Activity, offset: Offset, wave: usize) {
        self.orders += 1;
        assert!(!matches!(
            self.campaign.state,
            Does::Paused(_) | Does::Draft | Does::WaitingForApproval
        ));
        assert!(wave < self.campaign.begun, "its wave has begun");
        assert_eq!(self.policy.windows.open(activity, offset, self.now), Ok(()));
        if activity == Activity::Download {
            assert_eq!(self.campaign.state, Does::Running);
            assert!(
                !self.policy.interval.is_ahead(self.now) && !self.policy.interval.is_over(self.now)
            );
        }
    }

    /// Tells a device what to do; lost if the server is killed between its commit and this.
    fn send(&mut self, number: u32, doing: Doing) {
        if (self.calm || !self.random.percent(5))
            && let Some(device) = self.devices.get_mut(&number)
        {
            device.doing = doing;
        }
    }

    /// A device's round.
    fn live(&mut self, number: u32) {
        let calm = self.calm;
        let Some(device) = self.devices.get_mut(&number) else { return };
        let bad = !calm && self.random.percent(device.trouble);
        if bad && self.random.percent(30) {
            // The power is cut. What was installing may run or not.
            if let Doing::Installing(_) = device.doing {
                device.doing = Doing::Restarted;
            } else if self.random.percent(50) {
                device.doing = Doing::Nothing;
            }
            return;
        }
        match device.doing {
            Doing::Nothing => {}
            Doing::Downloading(_) if bad => {
                device.doing = Doing::Nothing;
                let code = self.random.one(&[
                    "connection_lost",
                    "disk_full",
                    "validation_failed",
                    "transport_404",
                    "user_declined",
                ]);
                self.apply(number, &Input::Failed(Failure::new(code.parse().unwrap(), "")));
            }
            Doing::Downloading(0) => {
                device.doing = Doing::Waiting;
                self.apply(number, &Input::Started);
                self.apply(number, &Input::Downloaded);
            }
            Doing::Downloading(left) => {
                device.doing = Doing::Downloading(left - 1);
                self.apply(number, &Input::Started);
                self.apply(number, &Input::Fetched);
            }
            Doing::Waiting => self.apply(number, &Input::Downloaded),
            Doing::Installing(_) if bad => {
                device.doing = Doing::Nothing;
                self.apply(
                    number,
                    &Input::Failed(Failure::new("install_failed".parse().unwrap(), "")),
                );
            }
            Doing::Installing(0) => {
                device.doing = Doing::Restarted;
                device.runs = [package("2")].into();
                self.apply(number, &Input::Installing);
            }
            Doing::Installing(left) => {
                device.doing = Doing::Installing(left - 1);
                self.apply(number, &Input::Installing);
            }
            Doing::Restarted => {
                if bad {
                    device.runs = [package("1")].into();
                }
                device.doing = Doing::Nothing;
                let runs = device.runs.clone();
                // A report may be lost, and may come twice.
                let times = if calm { 1 } else { self.random.one(&[0, 1, 1, 1, 2]) };
                for _ in 0..times {
                    self.apply(number, &Input::Succeeded(runs.clone()));
                }
            }
        }
    }

    fn people(&mut self) {
        if self.calm {
            return self.patient_person();
        }
        let random = self.random.below(400);
        let number = self.random.below(30) as u32;
        match random {
            0..3 => {
                self.campaign(&step::Input::Pause);
            }
            3..20 => {
                self.campaign(&step::Input::Resume);
            }
            20 => {
                self.campaign(&step::Input::Cancel);
            }
            21..25 => self.apply(number, &Input::ForceCancel),
            25..35 => self.retry(),
            35..38 if self.devices.contains_key(&number) && self.devices.len() > 1 => {
                self.remove(number)
            }
            38..45 => self.join(100 + number),
            45..60 => self.answer(self.random.clone().below(3) > 0),
            _ => {}
        }
    }

    /// Lets everything end: retries and resumes, and cancels what cannot be resumed or fails too often.
    fn patient_person(&mut self) {
        self.answer(true);
        match self.campaign.state {
            Does::WaitingForApproval => {
                assert!(!self.campaign(&step::Input::Approve(Approver::Author)), "four eyes");
                self.campaign(&step::Input::Approve(Approver::Another));
            }
            Does::Paused(Why::Missed { .. }) if self.random.percent(10) => {
                self.campaign(&step::Input::Cancel);
            }
            Does::Paused(why) => {
                self.retry();
                if !self.campaign(&step::Input::Resume) {
                    // A retry after the interval expires at once, so a wave can be beyond help.
                    let said = explain::campaign(&self.campaign, &self.policy);
                    let told = matches!(said, Some(Wait::Paused(Why::Missed { .. })));
                    assert!(told || why != Why::Person, "resume is refused, and {said:?} is said");
                    assert!(self.campaign(&step::Input::Cancel), "the way out that is left");
                }
            }
            _ => {}
        }
    }

    fn answer(&mut self, well: bool) {
        for wave in 0..self.campaign.waves.len() {
            let answer = if well { Health::Good } else { Health::Bad };
            self.campaign(&step::Input::Health { wave, answer });
        }
    }

    fn retry(&mut self) {
        let failed: Vec<u32> = self
            .updates
            .iter()
            .filter(|(_, (_, update))| matches!(update.state, State::Failed(_)))
            .map(|(number, _)| *number)
            .collect();
        for number in failed {
            self.apply(number, &Input::Retry);
        }
    }

    fn remove(&mut self, number: u32) {
        let Some((wave, _)) = self.updates.get(&number).cloned() else { return };
        let place = self.place(number);
        self.updates.remove(&number);
        self.devices.remove(&number);
        assert!(self.campaign(&step::Input::Left { wave, place }));
    }

    fn join(&mut self, number: u32) {
        if self.updates.contains_key(&number) {
            return;
        }
        let choices: Vec<&Choice> = self.policy.waves.iter().map(|wave| &wave.choice).collect();
        let wave = wave::joining(&choices, number, 0);
        let input = step::Input::Joined { wave, devices: 1 };
        if step::step(&self.campaign, &input, &self.policy, self.now).is_err() {
            return;
        }
        let device = Device {
            doing: Doing::Nothing,
            runs: [package("1")].into(),
            offset: Offset(0),
            trouble: 0,
        };
        self.devices.insert(number, device);
        self.updates.insert(number, (wave, Update::new(package("2"), self.now)));
        self.campaign(&input);
    }

    fn round(&mut self) {
        let minutes = if self.calm { 30 } else { 1 + self.random.below(90) };
        self.now = self.now + Duration::from_secs(60 * minutes);
        self.campaign(&step::Input::Tick);
        self.people();
        for number in self.devices.keys().copied().collect::<Vec<_>>() {
            if self.calm || self.random.percent(60) {
                self.live(number);
                self.serve(number);
            }
            let held = matches!(self.updates.get(&number), Some((_, update)) if update.state == State::InFlight(Phase::Downloaded))
                && self.devices.get(&number).is_some_and(|device| {
                    explain::may_install(&self.campaign, &self.policy, device.offset, self.now)
                        .is_err()
                });
            self.apply(number, if held { &Input::Held } else { &Input::Tick });
        }
    }

    fn is_over(&self) -> bool {
        match self.campaign.state {
            Does::Finished => true,
            Does::Cancelled => self.campaign.counts().is_over(),
            _ => false,
        }
    }

    /// Runs the campaign to its end, and says how many rounds that took.
    fn run(&mut self) -> u32 {
        assert!(self.campaign(&step::Input::Start));
        for round in 0..ROUNDS_OF_TROUBLE + ROUNDS_OF_CALM {
            self.calm = round >= ROUNDS_OF_TROUBLE;
            if self.is_over() && (self.calm || self.random.percent(20)) {
                self.end();
                return round;
            }
            self.round();
        }
        let waits = explain::campaign(&self.campaign, &self.policy).map(|wait| wait.to_string());
        panic!("it does not end: {:?}, {waits:?}, {:?}", self.campaign, self.policy);
    }

    fn end(&self) {
        self.check();
        assert!(self.campaign.counts().is_over());
        for (number, device) in &self.devices {
            if !self.updates.contains_key(number) {
                assert_eq!(device.runs, [package("1")].into(), "nobody meant device {number}");
            }
        }
        for wave in 0..self.campaign.waves.len() {
            let missed = judge::is_out_of_reach(
                &self.campaign.waves[wave],
                self.policy.waves[wave].success_percent,
            );
            let later: u64 =
                self.campaign.waves[wave + 1..].iter().map(|w| w.counts.completed).sum();
            assert!(!missed || later == 0 || wave < self.campaign.begun, "wave {wave}");
        }
    }
}

#[test]
fn every_campaign_keeps_its_promises_and_ends() {
    let number = |name: &str| std::env::var(name).ok().map(|text| text.parse::<u64>().unwrap());
    let campaigns = number("CAMPAIGNS").unwrap_or(CAMPAIGNS);
    let first = number("SEED").unwrap_or(1);
    let (mut rounds, mut orders, mut finished, mut cancelled) = (0_u64, 0, 0, 0);
    let mut completed = 0;
    for seed in first..first + campaigns {
        let result = std::panic::catch_unwind(|| {
            let mut world = World::new(seed);
            (world.run(), world)
        });
        let Ok((took, world)) = result else { panic!("SEED={seed} CAMPAIGNS=1 shows it again") };
        rounds += u64::from(took);
        orders += world.orders;
        completed += world.campaign.counts().completed;
        match world.campaign.state {
            Does::Finished => finished += 1,
            _ => cancelled += 1,
        }
    }
    println!(
        "{campaigns} campaigns: {finished} finished, {cancelled} cancelled; {rounds} rounds, {orders} orders, {completed} completed"
    );
    // A simulator in which nothing happens proves nothing.
    if campaigns >= CAMPAIGNS {
        assert!(finished > campaigns / 4 && cancelled > campaigns / 50, "{finished} {cancelled}");
        assert!(orders > 10 * campaigns && completed > 3 * campaigns, "{orders} {completed}");
    }
}
