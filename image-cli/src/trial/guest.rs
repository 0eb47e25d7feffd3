//! One guest from its start to its end: watched until it has said what it is like, logged in to, switched off.
//!
//! ```text
//! console ─┬─ trouble ───────────────────────────────────► the boot came to nothing
//! report ──┼─ whole ─────────────────────────────────────► looked at
//! rest ────┴─ nothing will come any more, that is clear ─► the boot came to nothing, and why
//! ```
//! What a guest has done is read from its two serial ports; whether it will do more, from what it takes of a processor
//! (`qemu/idle.rs`). A limit is for guests that never rest.

use std::path::Path;
use std::time::{Duration, SystemTime};

use super::console::{Console, Trouble};
use super::login::{self, Logins};
use super::machine::Machine;
use super::qmp::Event;
use super::report::{Report, Said};
use super::seed::Key;
use crate::error::{Context, Result};
use crate::monitor::Stage;
use crate::qemu::{Deadline, Idle};

/// A guest that rests so long when everything was heard of which more could come is done.
const SETTLED: Duration = Duration::from_secs(10);
/// A login prompt comes when cloud-init has begun, if it is going to; but it may be silent, or somebody else's.
const AT_A_LOGIN: Duration = Duration::from_secs(60);
/// Without a login prompt it may still wait for a network: for five minutes, at most (dhclient, ifupdown).
const IN_SILENCE: Duration = Duration::from_secs(330);

/// Why a boot came to nothing.
#[derive(Debug)]
pub(super) struct End {
    pub(super) trouble: Option<Trouble>,
    pub(super) words: String,
}

/// What a guest is going to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Expected<'a> {
    /// It is given user data, and reports.
    Report,
    /// It is given user data that it will not run, for this reason.
    NoReport(&'a str),
    /// It is given nothing, and has to boot.
    Boot,
}

/// A guest that is being watched.
#[derive(Debug)]
pub(super) struct Guest<'a> {
    machine: &'a mut Machine,
    folder: &'a Path,
    stage: &'a Stage<'a>,
    expected: Expected<'a>,
    pub(super) deadline: Deadline,
    rest: Idle,
    pub(super) console: Console,
    /// Its user data run.
    has_begun_to_report: bool,
    /// The report, and when it was whole.
    pub(super) report: Option<(Report, SystemTime)>,
    /// How long it took to the end of the boot, as the console tells it.
    pub(super) booted: Option<Duration>,
}

impl<'a> Guest<'a> {
    pub(super) fn new(
        machine: &'a mut Machine,
        folder: &'a Path,
        limit: Duration,
        expected: Expected<'a>,
        stage: &'a Stage<'a>,
    ) -> Self {
        let deadline = Deadline::new(machine.pid(), limit);
        let rest = Idle::new(machine.pid());
        let console = Console::new(expected == Expected::Report);
        let (has_begun_to_report, report, booted) = (false, None, None);
        Self {
            machine,
            folder,
            stage,
            expected,
            deadline,
            rest,
            console,
            has_begun_to_report,
            report,
            booted,
        }
    }

    /// Until the report is whole, or will not come. Without data there is none: until the boot has come to its end.
    pub(super) fn watch(&mut self) -> Result<Result<(), End>> {
        loop {
            self.look(None)?;
            if self.booted.is_none() && self.console.has_booted() {
                self.booted = Some(self.deadline.spent());
            }
            let said = Report::read(&self.folder.join("report.log")).context("reading the guest's report")?;
            match said {
                Said::All(report) => {
                    self.report = Some((report, SystemTime::now()));
                    return Ok(Ok(()));
                }
                Said::Something => self.has_begun_to_report = true,
                Said::Nothing => {}
            }
            if let Some(trouble) = self.trouble()? {
                return self.came_to_nothing(trouble).map(Err);
            }
            let is_over = self.deadline.is_over();
            if self.expected == Expected::Boot
                && self.booted.is_some()
                && (is_over || self.rest.time() >= SETTLED)
            {
                return Ok(Ok(()));
            }
            let heard = self.heard();
            if let Some(words) = heard.resting(self.rest.time()) {
                return Ok(Err(End { trouble: None, words }));
            }
            if is_over {
                let words = format!("{} (waited {} s)", heard.too_late(), self.deadline.limit().as_secs());
                return Ok(Err(End { trouble: None, words }));
            }
        }
    }

    fn heard(&self) -> Heard<'_> {
        let (expected, console) = (self.expected, &self.console);
        Heard { expected, console, has_begun_to_report: self.has_begun_to_report }
    }

    fn came_to_nothing(&mut self, trouble: Trouble) -> Result<End> {
        // What comes behind the first words tells why.
        std::thread::sleep(Duration::from_secs(1));
        self.look(None)?;
        let words = match trouble {
            Trouble::Ended => format!("{trouble}: {}", self.machine.complaint()),
            _ => trouble.to_string(),
        };
        Ok(End { trouble: Some(trouble), words })
    }

    /// Waits a little, then reads the console; and says from time to time what is waited for.
    fn look(&mut self, waiting: Option<(&str, &Deadline)>) -> Result<()> {
        std::thread::sleep(Duration::from_millis(200));
        self.stage.check()?;
        let log = self.folder.join("console.log");
        let has_spoken = self.console.follow(&log).context("reading the guest's console")?;
        self.rest.observe(has_spoken);
        let (awaited, deadline) = waiting.unwrap_or_else(|| (self.heard().awaited(), &self.deadline));
        self.stage.waiting(awaited, deadline.spent(), deadline.limit());
        Ok(())
    }

    fn trouble(&mut self) -> Result<Option<Trouble>> {
        if let Some(trouble) = self.console.trouble() {
            return Ok(Some(trouble));
        }
        let event = self.machine.events().into_iter().next().map(|event| match event {
            Event::PoweredOff => Trouble::SwitchedOff,
            Event::Reset => Trouble::Restarted,
        });
        let ended = self.machine.ended()?.map(|_| Trouble::Ended);
        Ok(event.or(ended))
    }

    /// Tries to log in; `None` to a guest that did not report, or has no network.
    pub(super) fn log_in(&mut self, key: &Key) -> Result<Option<Logins>> {
        match (&self.report, self.machine.ssh_port) {
            (Some((report, _)), Some(port)) => {
                self.stage.waiting("a login", self.deadline.spent(), self.deadline.limit());
                let programs = &self.machine.programs;
                login::attempt(port, report, key, self.folder, &self.deadline, programs, self.stage.cancel())
                    .map(Some)
            }
            _ => Ok(None),
        }
    }

    /// How long the guest takes to switch off when its power button is pressed, or why that is not known; `None` for one
    /// that did not come so far.
    pub(super) fn power_off(&mut self, limit: Duration) -> Result<Option<Result<Duration, String>>> {
        let is_up = self.report.is_some() || self.console.has_booted();
        if !is_up {
            return Ok(None);
        }
        // A login prompt may come last of all.
        let last = Deadline::new(self.machine.pid(), limit / 3);
        while !self.console.login && !last.is_over() {
            self.look(Some(("its login prompt", &last)))?;
        }
        if self.is_off()? {
            return Ok(Some(Err("it went off by itself before".to_owned())));
        }
        let deadline = Deadline::new(self.machine.pid(), limit);
        if let Err(error) = self.machine.press_power_button() {
            // In this very moment.
            return if self.is_off()? {
                Ok(Some(Err("it went off by itself".to_owned())))
            } else {
                Err(error)
            };
        }
        loop {
            self.look(Some(("it to switch itself off", &deadline)))?;
            match (self.is_off()?, deadline.spent()) {
                (true, time) => return Ok(Some(Ok(time))),
                (false, time) if deadline.is_over() => {
                    return Ok(Some(Err(format!("still on after {:.0} s", time.as_secs_f64()))));
                }
                _ => {}
            }
        }
    }

    /// Whether it switched itself off, or began anew, which QEMU ends with.
    fn is_off(&mut self) -> Result<bool> {
        let ended = self.machine.ended()?.is_some();
        Ok(!self.machine.events().is_empty() || ended)
    }
}

/// What was heard of a guest so far.
#[derive(Debug, Clone, Copy)]
struct Heard<'a> {
    expected: Expected<'a>,
    console: &'a Console,
    has_begun_to_report: bool,
}

impl Heard<'_> {
    /// Why nothing will come any more, if a rest so long makes that clear.
    fn resting(&self, rest: Duration) -> Option<String> {
        let console = self.console;
        let (needed, words) = match self.expected {
            // It waits for the end of the boot.
            _ if self.has_begun_to_report => return None,
            Expected::NoReport(why) if console.has_booted() => {
                (SETTLED, format!("it boots to its login prompt, and will not run its user data: {why}"))
            }
            Expected::Report if console.cloud_init_ended => {
                (SETTLED, "cloud-init comes to its end, but its user data say nothing on ttyS1".to_owned())
            }
            // What it is doing may have to wait for others.
            _ if console.cloud_init => return None,
            Expected::Report if console.login => (
                AT_A_LOGIN,
                "it boots to a login prompt and rests there, but does not run its user data: is cloud-init enabled?"
                    .to_owned(),
            ),
            _ if console.login => return None,
            _ => (IN_SILENCE, "it comes to rest without a login prompt on ttyS0".to_owned()),
        };
        (rest >= needed).then_some(words)
    }

    /// What was waited for in vain.
    fn too_late(&self) -> &'static str {
        let console = self.console;
        match (self.has_begun_to_report, console.cloud_init && !console.cloud_init_ended, console.login) {
            (true, _, _) => "its user data run, but the boot does not come to its end",
            (_, true, true) => "cloud-init does not come to its end",
            (_, _, true) => {
                "it boots to a login prompt, but does not run its user data: is cloud-init enabled?"
            }
            _ => "it does not come to the end of its boot",
        }
    }

    /// What is waited for at the moment.
    fn awaited(&self) -> &'static str {
        let console = self.console;
        match self.expected {
            _ if self.has_begun_to_report => "the end of its boot, and its report",
            _ if console.cloud_init && !console.cloud_init_ended => "the end of cloud-init",
            Expected::Report if console.cloud_init_ended => "its report",
            Expected::Report if console.login => "its user data to run",
            _ if console.login => "it to come to rest",
            _ if console.kernel => "its login prompt",
            _ => "its kernel",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trial::console::tests::heard as console;

    const KERNEL: &str = "[    0.000000] Linux version 6.1\n";
    const CLOUD_INIT: &str = "Cloud-init v. 22.4.2 running 'init'\n";
    const LOGIN: &str = "\r\ntrial login: ";
    const FINISHED: &str = "Cloud-init v. 22.4.2 finished at Mon. Datasource DataSourceNoCloud.\n";

    /// After how long a rest it is clear that nothing will come, if ever; and what is said then.
    fn given_up(expected: Expected<'_>, said: &[&str]) -> Option<(Duration, String)> {
        let console = console(&said.concat());
        let heard = Heard { expected, console: &console, has_begun_to_report: false };
        let times = [SETTLED, AT_A_LOGIN, IN_SILENCE, IN_SILENCE * 100];
        let early = |time: Duration| heard.resting(time - Duration::from_millis(1));
        let found = times.into_iter().find_map(|time| Some((time, heard.resting(time)?)));
        assert!(found.iter().all(|(time, _)| early(*time).is_none()));
        assert!(Heard { has_begun_to_report: true, ..heard }.resting(IN_SILENCE * 100).is_none());
        found
    }

    #[test]
    fn a_rest_is_the_end_where_nothing_more_can_come() {
        let time = |said: &[&str]| given_up(Expected::Report, said).map(|(time, _)| time);
        assert_eq!(time(&[]), Some(IN_SILENCE));
        assert_eq!(time(&[KERNEL]), Some(IN_SILENCE));
        assert_eq!(time(&[KERNEL, LOGIN]), Some(AT_A_LOGIN));
        // cloud-init may wait for others as long as it likes.
        assert_eq!(time(&[KERNEL, CLOUD_INIT]), None);
        assert_eq!(time(&[KERNEL, CLOUD_INIT, LOGIN]), None);
        assert_eq!(time(&[KERNEL, CLOUD_INIT, LOGIN, FINISHED]), Some(SETTLED));
    }

    #[test]
    fn what_is_known_before_shortens_the_wait() {
        let why = "/etc/cloud/cloud-init.disabled: it exists";
        let (time, words) = given_up(Expected::NoReport(why), &[KERNEL, LOGIN]).unwrap();
        assert!(time == SETTLED && words.ends_with(why), "{words}");
        assert_eq!(given_up(Expected::NoReport(why), &[KERNEL]).unwrap().0, IN_SILENCE);
        assert_eq!(given_up(Expected::NoReport(why), &[KERNEL, CLOUD_INIT, LOGIN]), None);
        // Without data, a login prompt is all that is waited for, and a rest.
        assert_eq!(given_up(Expected::Boot, &[KERNEL, LOGIN]), None);
        assert_eq!(given_up(Expected::Boot, &[KERNEL]).unwrap().0, IN_SILENCE);
    }

    #[test]
    fn it_is_said_what_is_waited_for() {
        let mut told = Vec::new();
        for said in
            [&[][..], &[KERNEL], &[KERNEL, CLOUD_INIT], &[KERNEL, LOGIN], &[LOGIN, CLOUD_INIT, FINISHED]]
        {
            let console = console(&said.concat());
            let heard = Heard { expected: Expected::Report, console: &console, has_begun_to_report: false };
            told.push(heard.awaited());
        }
        let words =
            ["its kernel", "its login prompt", "the end of cloud-init", "its user data to run", "its report"];
        assert_eq!(told, words);
    }
}
