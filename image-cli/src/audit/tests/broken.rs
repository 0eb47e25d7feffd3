//! Changes to a sound tree, and the rules that tell of them.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;

use super::{Change, edit, initrd, mode, put, wanted};

/// An initrd with its drivers, and with words that dracut's init adds to the kernel's command line.
fn words_in_initrd(root: &Path, words: &str) {
    let drivers = ["virtio_pci.ko", "virtio_blk.ko", "sd_mod.ko"].map(|name| (name, "module"));
    let files = [&drivers[..], &[("etc/cmdline.d/95root.conf", words)]].concat();
    fs::write(root.join("boot/initrd.img-6"), initrd::tests::archive_of(&files)).unwrap();
}

/// Which rules tell of which change to a sound tree.
pub(super) const TREES: &[(&str, Change)] = &[
    ("root-uuid", |root| edit(root, "boot/grub/grub.cfg", "UUID=91ca3c5f", "UUID=00000000")),
    ("root-uuid", |root| {
        edit(root, "boot/grub/grub.cfg", "UUID=91ca3c5f-0c30-8479-ab2d-961ceb69f35b", "/dev/loop0p1")
    }),
    ("kernel-files", |root| fs::remove_file(root.join("boot/vmlinuz-6")).unwrap()),
    ("console console-last", |root| {
        edit(root, "boot/grub/grub.cfg", "console=tty0 console=ttyS0,115200n8", "console=ttyS0 console=tty0");
    }),
    ("console-kept", |root| put(root, "etc/default/grub", "GRUB_CMDLINE_LINUX=\"\"\n#console=ttyS0\n")),
    ("boot-messages", |root| edit(root, "boot/grub/grub.cfg", " ro ", " ro quiet ")),
    ("fstab-nofail", |root| edit(root, "etc/fstab", "nofail", "defaults")),
    ("no-swap", |root| {
        let text = std::fs::read_to_string(root.join("etc/fstab")).unwrap();
        put(root, "etc/fstab", &format!("{text}/swapfile none swap sw 0 0\n"));
    }),
    ("console console-last", |root| edit(root, "boot/grub/grub.cfg", " console=ttyS0,115200n8", "")),
    ("initrd-virtio", |root| put(root, "usr/lib/modules/6/modules.builtin", "")),
    ("initrd-virtio", |root| put(root, "boot/initrd.img-6", "no archive")),
    ("initrd-root", |root| {
        words_in_initrd(root, "root=/dev/disk/by-uuid/00000000-0c30-8479-ab2d-961ceb69f35b ro")
    }),
    ("initrd-root", |root| words_in_initrd(root, "rootflags=x root=/dev/vda1")),
    ("initrd-root", |root| words_in_initrd(root, "resume=UUID=00000000-0c30-8479-ab2d-961ceb69f35b")),
    ("", |root| words_in_initrd(root, "root=UUID=91ca3c5f-0c30-8479-ab2d-961ceb69f35b rd.lvm=0")),
    ("kernel-modules", |root| {
        edit(root, "boot/grub/grub.cfg", "vmlinuz-6", "vmlinuz-7");
        put(root, "boot/vmlinuz-7", "kernel");
    }),
    ("", |root| {
        edit(root, "boot/grub/grub.cfg", "vmlinuz-6", "vmlinuz-0-rescue-1");
        put(root, "boot/vmlinuz-0-rescue-1", "kernel");
    }),
    ("", |root| edit(root, "etc/fstab", "1234-ABCD", "1234-ABCE")),
    ("fstab fstab-nofail", |root| {
        edit(root, "etc/fstab", "1234-ABCD /boot/efi vfat nofail", "1234-ABCE /boot/efi vfat defaults");
    }),
    ("", |root| {
        let text = fs::read_to_string(root.join("etc/fstab")).unwrap();
        let more = "/dev/sr0 /media/cdrom udf,iso9660 user,noauto 0 0\n/dev/disk/by-uuid/1234-abcd /efi vfat nofail 0 0\n";
        put(root, "etc/fstab", &format!("{text}{more}"));
    }),
    ("fstab", |root| {
        let text = fs::read_to_string(root.join("etc/fstab")).unwrap();
        put(root, "etc/fstab", &format!("{text}/dev/disk/by-label/other /srv ext4 defaults 0 2\n"));
    }),
    ("fstab", |root| put(root, "etc/fstab", "/dev/sda1 / ext4 defaults 0 1\n")),
    ("machine-id", |root| put(root, "etc/machine-id", "0123456789abcdef0123456789abcdef\n")),
    ("machine-id", |root| fs::remove_file(root.join("etc/machine-id")).unwrap()),
    ("dbus-id", |root| put(root, "var/lib/dbus/machine-id", "0123456789abcdef0123456789abcdef\n")),
    ("host-keys", |root| put(root, "etc/ssh/ssh_host_ed25519_key", "key")),
    // As Debian's package makes it.
    ("service-ids", |root| {
        let comment = "## DO NOT EDIT OR REMOVE THIS FILE!\n## If you remove this file, the iSCSI daemon will not start.\n";
        put(root, "usr/lib/open-iscsi/startup-checks.sh", "#!/bin/sh\n");
        put(
            root,
            "etc/iscsi/initiatorname.iscsi",
            &format!("{comment}InitiatorName=iqn.1993-08.org.debian:01:b02cc8253b28\n"),
        );
        symlink("usr/lib", root.join("lib")).unwrap();
    }),
    ("", |root| put(root, "etc/iscsi/initiatorname.iscsi", "GenerateName=yes\n")),
    ("service-secrets", |root| {
        put(
            root,
            "var/lib/rabbitmq/.erlang.cookie",
            "kto2eBBbkuGXrY4VC0ki6XgyqoJwiq1K9Ss/YWufzhLTJBLZuswa2c4d\n",
        );
    }),
    ("service-secrets", |root| put(root, "etc/bind/rndc.key", "key \"rndc-key\" { secret \"x\"; };\n")),
    ("random-seed", |root| put(root, "var/lib/systemd/random-seed", "seed")),
    ("build-host", |root| put(root, "etc/deep/er/config", "server build-host-7\n")),
    ("resolv-conf", |root| put(root, "etc/resolv.conf", "nameserver 192.0.2.1\n")),
    ("network-state", |root| put(root, "var/lib/dhcp/dhclient.eth0.leases", "")),
    ("cloud-init-state", |root| put(root, "var/lib/cloud/sem/config_scripts", "")),
    ("package-leftovers", |root| put(root, "var/lib/apt/lists/example_dists_InRelease", "x")),
    ("package-leftovers", |root| put(root, "var/cache/apt/archives/x_1_all.deb", "x")),
    ("logs", |root| put(root, "var/log/journal/0/system.journal", "x")),
    ("logs", |root| {
        put(root, "srv/log/app/x", "x");
        fs::remove_dir_all(root.join("var/log")).unwrap();
        symlink("../srv/log", root.join("var/log")).unwrap();
    }),
    ("logs", |root| {
        put(root, "srv/x", "x");
        fs::remove_dir_all(root.join("var/log")).unwrap();
        symlink("/srv", root.join("var/log")).unwrap();
    }),
    ("package-leftovers", |root| {
        put(root, "usr/share/packages/x", "x");
        fs::create_dir_all(root.join("var/cache")).unwrap();
        symlink("/usr/share/packages", root.join("var/cache/apk")).unwrap();
    }),
    ("crash-dumps", |root| put(root, "var/lib/systemd/coredump/core.x.zst", "x")),
    ("crash-dumps", |root| put(root, "var/crash/_usr_bin_x.0.crash", "x")),
    ("mail", |root| {
        put(root, "var/mail/root", "x");
        fs::create_dir_all(root.join("var/spool")).unwrap();
        symlink("../mail", root.join("var/spool/mail")).unwrap();
    }),
    ("mail", |root| put(root, "var/spool/postfix/deferred/0/0123", "x")),
    ("", |root| put(root, "var/mail/ann", "")),
    ("temporary-files", |root| put(root, "var/tmp/x", "")),
    ("passwords", |root| put(root, "etc/shadow", "root:$y$j9T$x:1::::::\n")),
    ("passwords", |root| put(root, "etc/shadow", "root::1::::::\n")),
    ("authorized-keys", |root| put(root, "root/.ssh/authorized_keys", "ssh-ed25519 AAAA\n")),
    ("authorized-keys", |root| put(root, "home/x/.ssh/authorized_keys2", "ssh-ed25519 AAAA\n")),
    ("histories", |root| put(root, "root/.bash_history", "ls\n")),
    ("config-drive", |root| edit(root, "usr/lib/modules/6/modules.dep", "isofs.ko", "x.ko")),
    ("config-drive-bus", |root| edit(root, "usr/lib/modules/6/modules.dep", "ahci.ko", "x.ko")),
    ("network-card", |root| edit(root, "usr/lib/modules/6/modules.dep", "virtio_net.ko", "x.ko")),
    ("entropy", |root| edit(root, "usr/lib/modules/6/modules.dep", "virtio-rng.ko", "x.ko")),
    ("watchdog", |root| edit(root, "usr/lib/modules/6/modules.dep", "i6300esb.ko", "x.ko")),
    ("guest-agent", |root| edit(root, "usr/lib/modules/6/modules.dep", "virtio_console.ko", "x.ko")),
    ("guest-agent", |root| fs::remove_file(root.join("usr/sbin/qemu-ga")).unwrap()),
    ("cloud-init", |root| put(root, "etc/cloud/cloud-init.disabled", "")),
    ("cloud-init", |root| wanted(root, "cloud-init.service", None)),
    ("cloud-init", |root| edit(root, "boot/grub/grub.cfg", " ro ", " ro cloud-init=disabled ")),
    ("cloud-init", |root| edit(root, "boot/grub/grub.cfg", " ro ", " ro ci.di.policy=disabled ")),
    ("cloud-init", |root| put(root, "etc/cloud/ds-identify.cfg", "# off\npolicy: disabled\n")),
    ("", |root| {
        put(root, "etc/cloud/ds-identify.cfg", "policy: search,found=all,maybe=all,notfound=enabled\n")
    }),
    ("", |root| put(root, "etc/cloud/ds-identify.cfg", "policy: search,found=first,notfound=disabled\n")),
    // The others would start, and no user data be run.
    ("cloud-init", |root| symlink("/dev/null", root.join("etc/systemd/system/cloud-final.service")).unwrap()),
    ("cloud-init", |root| symlink("/dev/null", root.join("etc/systemd/system/cloud-init.target")).unwrap()),
    ("datasources datasources-both", |root| {
        edit(root, "etc/cloud/cloud.cfg.d/90.cfg", "ConfigDrive, OpenStack", "NoCloud");
    }),
    ("datasources-both", |root| edit(root, "etc/cloud/cloud.cfg.d/90.cfg", ", OpenStack", "")),
    ("no-metadata-wait", |root| {
        edit(root, "etc/cloud/cloud.cfg.d/90.cfg", "OpenStack]", "OpenStack, Ec2]");
        fs::remove_file(root.join("usr/lib/cloud-init/ds-identify")).unwrap();
    }),
    ("default-user", |root| edit(root, "etc/cloud/cloud.cfg", "{name: debian}", "{}")),
    ("default-user", |root| edit(root, "etc/cloud/cloud.cfg", "[ssh, always]", "[none, always]")),
    ("growth", |root| fs::remove_file(root.join("usr/bin/growpart")).unwrap()),
    ("growth", |root| put(root, "etc/growroot-disabled", "")),
    ("", |root| {
        put(root, "etc/growroot-disabled", "");
        put(root, "etc/cloud/cloud.cfg.d/91.cfg", "growpart: {ignore_growroot_disabled: true}\n");
    }),
    ("cloud-network", |root| edit(root, "boot/grub/grub.cfg", " ro ", " ro network-config=disabled ")),
    ("growth", |root| edit(root, "etc/cloud/cloud.cfg", "resizefs, ", "")),
    ("cache-clean", |root| put(root, "etc/cloud/cloud.cfg.d/91.cfg", "manual_cache_clean: true\n")),
    // What cannot be read is not known, and whatever depends on it is not said to be fine.
    (
        "cache-clean cloud-init-access cloud-network datasources datasources-both default-user dhcp growth mac-addresses no-metadata-wait ssh-passwords",
        |root| {
            put(root, "etc/cloud/cloud.cfg.d/91.cfg", "a: [\n");
        },
    ),
    ("mac-addresses", |root| {
        put(root, "etc/sysconfig/network-scripts/ifcfg-eth0", "DEVICE=eth0\nHWADDR=52:54:00:12:34:56\n");
    }),
    ("mac-addresses", |root| {
        let network = "network: {ethernets: {a: {match: {macaddress: '52:54:00:00:00:01'}}}}\n";
        put(root, "etc/cloud/cloud.cfg.d/50-curtin-networking.cfg", network);
    }),
    ("mac-addresses", |root| {
        put(
            root,
            "etc/NetworkManager/system-connections/a",
            "[ethernet]\ncloned-mac-address=52:54:00:00:00:01\n",
        );
    }),
    ("", |root| {
        put(root, "etc/NetworkManager/system-connections/a", "[ethernet]\ncloned-mac-address=stable\n");
    }),
    ("mac-addresses", |root| put(root, "etc/systemd/networkd.conf", "[DHCPv6]\nDUIDRawData=00:01\n")),
    ("network-state", |root| put(root, "var/lib/dhcpcd/duid", "00:01:00:01\n")),
    ("mac-addresses", |root| put(root, "etc/netplan/1.yaml", "network:\n  match:\n    macaddress: \"52\"\n")),
    ("dhcp cloud-network", |root| {
        put(root, "etc/cloud/cloud.cfg.d/91.cfg", "network: {config: disabled}\n");
    }),
    ("cloud-network", |root| {
        put(root, "etc/cloud/cloud.cfg.d/91.cfg", "network: {config: disabled}\n");
        put(root, "etc/network/interfaces", "auto eth0\niface eth0 inet dhcp\n");
    }),
    ("zeroconf", |root| put(root, "etc/sysconfig/network-scripts/ifup", "")),
    ("ipv6", |root| put(root, "etc/sysctl.d/9.conf", "net.ipv6.conf.all.disable_ipv6 = 1\n")),
    ("ipv6", |root| edit(root, "boot/grub/grub.cfg", " ro ", " ro ipv6.disable=1 ")),
    ("mtu", |root| put(root, "etc/systemd/network/1.network", "[Link]\nMTUBytes=9000\n")),
    ("firewall", |root| put(root, "etc/ufw/ufw.conf", "ENABLED=yes\n")),
    ("firewall", |root| wanted(root, "firewalld.service", Some("/usr/lib/systemd/system/firewalld.service"))),
    ("firewall", |root| {
        wanted(root, "nftables.service", Some("/usr/lib/systemd/system/nftables.service"));
        put(root, "etc/nftables.conf", "chain input { policy drop; }\n");
    }),
    ("", |root| {
        wanted(root, "nftables.service", Some("/usr/lib/systemd/system/nftables.service"));
        put(root, "etc/nftables.conf", "#drop\nflush ruleset\n");
    }),
    ("ssh-server", |root| wanted(root, "ssh.service", None)),
    ("ssh-server", |root| symlink("/dev/null", root.join("etc/systemd/system/ssh.service")).unwrap()),
    ("acpi", |root| fs::remove_file(root.join("usr/bin/dbus-daemon")).unwrap()),
    ("acpi", |root| put(root, "etc/systemd/logind.conf", "[Login]\nHandlePowerKey=ignore\n")),
    ("time", |root| wanted(root, "systemd-timesyncd.service", None)),
    ("utc", |root| {
        fs::remove_file(root.join("etc/localtime")).unwrap();
        symlink("../usr/share/zoneinfo/Europe/Berlin", root.join("etc/localtime")).unwrap();
    }),
    ("trim", |root| wanted(root, "fstrim.timer", None)),
    ("updates", |root| edit(root, "etc/apt/apt.conf.d/20auto", "\"1\"", "\"0\"")),
    ("selinux", |root| {
        put(root, "etc/selinux/config", "SELINUX=enforcing\n");
        put(root, ".autorelabel", "");
    }),
    ("selinux", |root| put(root, "etc/selinux/config", "SELINUX=enforcing\n")),
    ("hostname", |root| put(root, "etc/hostname", "machine-7\n")),
    ("resolv-conf", |root| {
        fs::remove_file(root.join("etc/resolv.conf")).unwrap();
        symlink("../var/lib/resolv", root.join("etc/resolv.conf")).unwrap();
        put(root, "var/lib/resolv", "nameserver 192.0.2.1\n");
    }),
    ("", |root| {
        fs::remove_file(root.join("etc/resolv.conf")).unwrap();
        symlink("../usr/lib/systemd/resolv.conf", root.join("etc/resolv.conf")).unwrap();
        put(root, "usr/lib/systemd/resolv.conf", "nameserver 127.0.0.53\nsearch .\n");
    }),
    ("histories", |root| put(root, "root/.local/share/fish/fish_history", "- cmd: ls\n")),
    ("root-accounts", |root| {
        put(root, "etc/passwd", "root:x:0:0::/root:/bin/sh\ntoor:x:0:0::/root:/bin/sh\n")
    }),
    ("users", |root| {
        put(root, "etc/passwd", "root:x:0:0::/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n")
    }),
    ("ssh-passwords", |root| put(root, "etc/cloud/cloud.cfg.d/91.cfg", "ssh_pwauth: yes\n")),
    ("ssh-passwords", |root| put(root, "etc/ssh/sshd_config", "PermitEmptyPasswords yes\n")),
    ("ssh-passwords", |root| {
        edit(root, "etc/cloud/cloud.cfg", "ssh_pwauth: true", "");
        edit(root, "etc/cloud/cloud.cfg.d/90.cfg", "ssh_pwauth: 0", "");
    }),
    ("", |root| {
        edit(root, "etc/cloud/cloud.cfg", "ssh_pwauth: true", "");
        edit(root, "etc/cloud/cloud.cfg.d/90.cfg", "ssh_pwauth: 0", "");
        put(root, "etc/ssh/sshd_config", "Include sshd_config.d/*.conf\nPasswordAuthentication yes\n");
        put(root, "etc/ssh/sshd_config.d/1.conf", "PasswordAuthentication no\n");
    }),
    ("ssh-root", |root| put(root, "etc/ssh/sshd_config", "PermitRootLogin yes\n")),
    ("ssh-root", |root| {
        put(root, "etc/ssh/sshd_config", "PermitRootLogin no\nMatch Address *\nPermitRootLogin yes\n")
    }),
    ("ssh-passwords", |root| put(root, "etc/ssh/sshd_config", "UsePAM yes\n")),
    ("", |root| put(root, "etc/ssh/sshd_config", "UsePAM yes\nChallengeResponseAuthentication no\n")),
    ("", |root| {
        put(root, "etc/ssh/sshd_config", "UsePAM yes\nAuthenticationMethods publickey,password publickey\n")
    }),
    ("ssh-passwords", |root| {
        put(root, "etc/ssh/sshd_config", "Include sshd_config.d/*.conf\n");
        // In the order of names, whatever the filesystem's.
        put(root, "etc/ssh/sshd_config.d/9.conf", "UsePAM no\n");
        put(root, "etc/ssh/sshd_config.d/1.conf", "Match User ann\nPasswordAuthentication yes\n");
    }),
    ("ssh-passwords", |root| put(root, "etc/default/ssh", "SSHD_OPTS=\"-o PermitEmptyPasswords=yes\"\n")),
    ("authorized-keys", |root| {
        put(root, "etc/ssh/sshd_config", "AuthorizedKeysFile /srv/keys/%u .ssh/authorized_keys\n");
        put(root, "srv/keys/root", "# mine\nssh-ed25519 AAAA\n");
    }),
    ("authorized-keys", |root| {
        put(root, "etc/passwd", "root:x:0:0::/root:/bin/sh\nbackup:x:34:34::/srv/backup:/bin/sh\n");
        put(root, "srv/backup/.ssh/authorized_keys", "ssh-ed25519 AAAA\n");
    }),
    ("", |root| put(root, "root/.ssh/authorized_keys", "# nobody\n\n")),
    ("ssh-trust", |root| put(root, "etc/ssh/sshd_config", "TrustedUserCAKeys /etc/ssh/ca.pub\n")),
    ("ssh-trust", |root| {
        put(
            root,
            "etc/ssh/sshd_config",
            "AuthorizedKeysCommand none\nMatch all\nAuthorizedKeysCommand /x %u\n",
        );
    }),
    ("ssh-trust", |root| put(root, "etc/ssh/sshd_config", "HostbasedAuthentication yes\n")),
    ("ssh-trust", |root| put(root, "root/.rhosts", "+\n")),
    ("passwords", |root| put(root, "var/backups/shadow.bak", "root:$y$j9T$x:1::::::\n")),
    ("passwords", |root| put(root, "etc/shadow-", "root:!$6$x:1::::::\n")),
    ("passwords", |root| put(root, "etc/security/opasswd", "ann:1000:1:x\n")),
    ("", |root| put(root, "var/backups/shadow.bak", "root:*:1::::::\nann:!:1\n")),
    ("cloud-init-access", |root| put(root, "etc/cloud/cloud.cfg.d/91.cfg", "password: hunter2\n")),
    ("cloud-init-access", |root| {
        let text = "datasource:\n  None:\n    userdata_raw: |\n      #cloud-config\n      users: [{name: a, passwd: $6$x}]\n";
        put(root, "etc/cloud/cloud.cfg.d/99-installer.cfg", text);
    }),
    ("cloud-init-access", |root| put(root, "etc/cloud/cloud.cfg.d/91.cfg", "disable_root: 0\n")),
    ("cloud-init-access", |root| {
        put(root, "var/lib/cloud/seed/nocloud/user-data", "#cloud-config\nssh_authorized_keys: [x]\n");
    }),
    ("console-logins", |root| {
        let text = "[Service]\nExecStart=\nExecStart=-/sbin/agetty --autologin root %I\n";
        put(root, "etc/systemd/system/serial-getty@.service.d/a.conf", text);
    }),
    ("console-logins", |root| {
        wanted(root, "debug-shell.service", Some("/usr/lib/systemd/system/debug-shell.service"));
    }),
    ("console-logins", |root| edit(root, "boot/grub/grub.cfg", " ro ", " ro systemd.debug_shell=1 ")),
    ("modes", |root| mode(root, "tmp", 0o755)),
    ("modes", |root| mode(root, "etc", 0o700)),
    ("modes", |root| mode(root, "etc/shadow", 0o644)),
    ("modes", |root| mode(root, "root/.ssh", 0o770)),
    ("sudo", |root| {
        put(root, "etc/sudoers", "root ALL=(ALL) ALL\n@includedir /etc/sudoers.d\n");
        put(root, "etc/sudoers.d/x", "ann ALL=(ALL) \\\n  NOPASSWD: ALL\n");
        put(root, "etc/sudoers.d/x.bak", "%users ALL=NOPASSWD: ALL\n");
        ["etc/sudoers", "etc/sudoers.d/x", "etc/sudoers.d/x.bak"]
            .iter()
            .for_each(|path| mode(root, path, 0o440));
    }),
    ("build-proxy", |root| {
        put(root, "etc/apt/apt.conf.d/9", "Acquire::http::Proxy \"http://127.0.0.1:1/\";\n")
    }),
];
