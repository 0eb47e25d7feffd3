//! Rules of services: who can log in, stop the machine, tell the time and trim the disk.

use image_core::fs::Ext4;

use super::kernel::Kernels;
use super::places::{MODULES, UNITS};
use super::rule::{Judgement, Rule};
use super::subject::Subject;
use super::view::View;

pub(super) const RULES: &[Rule] = &[
    Rule::must(
        "ssh-server",
        "an SSH server is installed and started",
        "OpenStack image guide, SSH server running",
        ssh_server,
    )
    .reads(&[&["/usr/sbin/sshd", "/usr/sbin/dropbear"], UNITS])
    .openstack(),
    Rule::must(
        "acpi",
        "the power button stops the system",
        "OpenStack image guide, acpid; Nova waits 60 s before it kills",
        acpi,
    )
    .reads(&[
        &[
            "/usr/lib/systemd/systemd-logind",
            "/etc/systemd/logind.conf",
            "/etc/systemd/logind.conf.d/*",
            "/usr/bin/dbus-*",
            "/usr/sbin/acpid",
        ],
        UNITS,
    ])
    .openstack(),
    Rule::must("time", "the clock is set from the network", "certificates and tokens need the time", time)
        .reads(&[UNITS])
        .openstack(),
    Rule::should("utc", "the time zone is UTC", "OpenStack image guide, FreeBSD example", utc)
        .reads(&[&["/etc/localtime"]])
        .openstack(),
    Rule::should(
        "guest-agent",
        "the QEMU guest agent is there, with its channel",
        "hw_qemu_guest_agent, os_require_quiesce",
        guest_agent,
    )
    .reads(&[&["/usr/*bin/qemu-ga"], MODULES])
    .openstack(),
    Rule::should("trim", "blocks that files no longer use go back to the storage", "fstrim(8)", trim)
        .reads(&[UNITS, &["/etc/fstab"]])
        .openstack(),
    Rule::should(
        "updates",
        "security updates are installed by themselves",
        "OpenStack image guide, automatic updates",
        updates,
    )
    .reads(&[&["/usr/bin/unattended-upgrade", "/etc/apt/apt.conf.d/*"], UNITS])
    .openstack(),
    Rule::should("selinux", "the first boot does not relabel every file", "selinux(8)", selinux).reads(&[&[
        "/etc/selinux/config",
        "/.autorelabel",
        "the disk",
        "the partition table",
    ]]),
];

/// Where one of `units` (with their suffix) is enabled, if it is.
///
/// Links in a unit's folder are what systemctl enable makes; OpenRC has folders of links for its levels.
pub(super) fn enabled(view: &View, units: &[&str]) -> crate::Result<Option<String>> {
    let systemd = view.first_of(&["/usr/lib/systemd/systemd", "/lib/systemd/systemd"])?.is_some();
    for unit in units {
        if masked(view, unit)?.is_some() {
            continue;
        }
        let name = unit.rsplit_once('.').map_or(*unit, |(name, _)| name);
        let patterns = match systemd {
            true => vec![
                format!("/etc/systemd/system/*.wants/{unit}"),
                format!("/etc/systemd/system/*.requires/{unit}"),
                format!("/usr/lib/systemd/system/*.wants/{unit}"),
                format!("/lib/systemd/system/*.wants/{unit}"),
            ],
            false => vec![
                format!("/etc/runlevels/*/{name}"),
                format!("/etc/rc2.d/S*{name}"),
                format!("/etc/rc3.d/S*{name}"),
            ],
        };
        for pattern in patterns {
            if let Some(path) = view.matches(&pattern)?.first() {
                return Ok(Some(path.display().to_string()));
            }
        }
    }
    Ok(None)
}

/// Where a unit is masked, if it is (systemctl(1), mask).
pub(super) fn masked(view: &View, unit: &str) -> crate::Result<Option<String>> {
    let place = format!("/etc/systemd/system/{unit}");
    let target = view.root().read_link(place.as_ref())?;
    Ok(target.is_some_and(|target| target.ends_with("dev/null")).then_some(place))
}

fn ssh_server(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let view = subject.view;
    let programs = ["/usr/sbin/sshd", "/usr/bin/sshd", "/usr/sbin/dropbear"];
    let Some(program) = view.first_of(&programs)? else {
        return Ok(Judgement::broken(programs[0], "it is missing", "install openssh-server"));
    };
    let units = [
        "ssh.service",
        "sshd.service",
        "ssh.socket",
        "sshd.socket",
        "sshd-keygen.target",
        "dropbear.service",
        "dropbear.socket",
    ];
    match enabled(view, &units)? {
        Some(place) => Ok(Judgement::kept(place)),
        None => Ok(Judgement::broken(program, "nothing starts it", "systemctl enable ssh (or sshd)")),
    }
}

fn acpi(subject: &Subject<'_>) -> crate::Result<Judgement> {
    const FIX: &str = "install dbus, which systemd-logind needs, or acpid";
    let view = subject.view;
    if let Some(place) = enabled(view, &["acpid.service", "acpid.socket", "acpid.path"])? {
        return Ok(Judgement::Kept(place));
    }
    let logind = ["/usr/lib/systemd/systemd-logind", "/lib/systemd/systemd-logind", "/usr/libexec/elogind"];
    let Some(logind) = view.first_of(&logind)? else {
        return Ok(Judgement::broken(
            "/usr/lib/systemd/systemd-logind",
            "neither it nor acpid is there",
            FIX,
        ));
    };
    let bus = ["/usr/bin/dbus-daemon", "/usr/bin/dbus-broker", "/usr/bin/dbus-broker-launch"];
    if view.first_of(&bus)?.is_none() {
        return Ok(Judgement::broken(bus[0], "it is missing: systemd-logind does not start without it", FIX));
    }
    for pattern in ["/etc/systemd/logind.conf", "/etc/systemd/logind.conf.d/*.conf"] {
        for path in view.matches(pattern)? {
            let text = view.text(&path)?.unwrap_or_default();
            let mut lines = text.lines().map(str::trim);
            if let Some(line) =
                lines.find(|line| line.starts_with("HandlePowerKey=") && line.ends_with("ignore"))
            {
                return Ok(Judgement::broken(path.display().to_string(), line, "HandlePowerKey=poweroff"));
            }
        }
    }
    Ok(Judgement::Kept(logind))
}

fn time(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let units = [
        "systemd-timesyncd.service",
        "chrony.service",
        "chronyd.service",
        "ntp.service",
        "ntpd.service",
        "ntpsec.service",
        "ntpd-rs.service",
        "openntpd.service",
    ];
    Ok(match enabled(subject.view, &units)? {
        Some(place) => Judgement::Kept(place),
        None => Judgement::broken(
            "/etc/systemd/system",
            "no client of a time server is enabled",
            "install and enable chrony or systemd-timesyncd",
        ),
    })
}

fn utc(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let path = "/etc/localtime";
    let link = subject.view.root().read_link(path.as_ref())?;
    let Some(target) = link else { return Ok(Judgement::kept("not set")) };
    let zone = target.display().to_string();
    let utc = ["/UTC", "/Etc/UTC", "/UCT", "/Zulu", "/Universal"].iter().any(|name| zone.ends_with(name));
    match utc {
        true => Ok(Judgement::Kept(zone)),
        false => Ok(Judgement::broken(path, zone, "ln -sf /usr/share/zoneinfo/UTC /etc/localtime")),
    }
}

fn guest_agent(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let programs = ["/usr/sbin/qemu-ga", "/usr/bin/qemu-ga"];
    let Some(program) = subject.view.first_of(&programs)? else {
        let found = "it is missing: no consistent snapshots, no passwords set by the cloud";
        return Ok(Judgement::broken(programs[0], found, "install qemu-guest-agent"));
    };
    let findings = Kernels::of(subject.view)?
        .lacking(&["virtio_console"], "install a kernel with virtio_console, the agent's channel");
    Ok(Judgement::of(findings, program))
}

fn trim(subject: &Subject<'_>) -> crate::Result<Judgement> {
    if let Some(place) = enabled(subject.view, &["fstrim.timer"])? {
        return Ok(Judgement::Kept(place));
    }
    let mounted = super::boot::fstab_lines(subject)?.into_iter().any(|line| {
        line.split_whitespace()
            .nth(3)
            .is_some_and(|options| options.split(',').any(|option| option == "discard"))
    });
    match mounted {
        true => Ok(Judgement::kept("/etc/fstab: discard")),
        false => Ok(Judgement::broken("fstrim.timer", "it is not enabled", "systemctl enable fstrim.timer")),
    }
}

fn updates(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let timers =
        ["dnf-automatic.timer", "dnf-automatic-install.timer", "dnf5-automatic.timer", "yum-cron.service"];
    if let Some(place) = enabled(subject.view, &timers)? {
        return Ok(Judgement::Kept(place));
    }
    for path in subject.view.matches("/etc/apt/apt.conf.d/*")? {
        let text = subject.view.text(&path)?.unwrap_or_default();
        let mut lines =
            text.lines().map(str::trim).filter(|line| line.starts_with("APT::Periodic::Unattended-Upgrade"));
        if lines.any(|line| !line.contains("\"0\"")) && subject.view.exists("/usr/bin/unattended-upgrade")? {
            return Ok(Judgement::kept(path.display().to_string()));
        }
    }
    let fix = "install unattended-upgrades or dnf-automatic, or rebuild often (replace_frequency)";
    Ok(Judgement::broken(
        "/etc/apt/apt.conf.d",
        "neither unattended-upgrades nor dnf-automatic is enabled",
        fix,
    ))
}

fn selinux(subject: &Subject<'_>) -> crate::Result<Judgement> {
    let text = subject.view.text("/etc/selinux/config")?.unwrap_or_default();
    let enforcing = text.lines().any(|line| line.trim() == "SELINUX=enforcing");
    if !enforcing {
        return Ok(Judgement::kept("it does not enforce"));
    }
    let fix = "label the files when the image is made (setfiles)";
    if subject.view.exists("/.autorelabel")? {
        return Ok(Judgement::broken("/.autorelabel", "it exists", fix));
    }
    let Some(root) = subject.view.root_volume() else { return Ok(Judgement::kept("")) };
    let fs = Ext4::open(root.content(subject.view.disk())?)?;
    Ok(match fs.attribute(&fs.root()?, "security.selinux")? {
        Some(label) => Judgement::kept(String::from_utf8_lossy(&label).trim_end_matches('\0')),
        None => Judgement::broken("/", "it has no label, as if nothing were labelled", fix),
    })
}
