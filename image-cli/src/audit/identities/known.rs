//! The table: what two machines must not share, and how each gets its own.
//!
//! Where a row says that something makes it anew, its unit, script or source does so where the file is missing:
//! docs/identities.md names it.

use super::{Identity, Kind, Renewal, System};
use Kind::{Id, Secret};
use Renewal::{ByHand, Removed, Written};
use System::{Any, With, Without};

/// One that is the whole file, in any system.
const fn whole(pattern: &'static str, kind: Kind, what: &'static str, renewal: Renewal) -> Identity {
    Identity { pattern, line: "", kind, what, system: Any, renewal }
}

/// An id that is made anew where it is missing.
const fn id(pattern: &'static str, what: &'static str, maker: &'static str) -> Identity {
    whole(pattern, Id, what, Removed(maker))
}

/// A secret that is made anew where it is missing.
const fn secret(pattern: &'static str, what: &'static str, maker: &'static str) -> Identity {
    whole(pattern, Secret, what, Removed(maker))
}

/// An id for which a machine has to be told.
const fn lasting_id(pattern: &'static str, what: &'static str, remedy: &'static str) -> Identity {
    whole(pattern, Id, what, ByHand(remedy))
}

/// A secret for which a machine has to be told.
const fn lasting_secret(pattern: &'static str, what: &'static str, remedy: &'static str) -> Identity {
    whole(pattern, Secret, what, ByHand(remedy))
}

const INITIATOR: Identity = Identity {
    pattern: "/etc/iscsi/initiatorname.iscsi",
    line: "InitiatorName=",
    kind: Id,
    what: "the iSCSI initiator's name",
    system: Any,
    renewal: Removed("iscsi-init.service"),
};
/// Debian's: iscsid does not start without the file.
const STARTUP_CHECKS: &str = "/lib/open-iscsi/startup-checks.sh";
const GENERATE_NAME: &str = "## iscsid makes a name of its own when it first starts.\nGenerateName=yes\n";

const PUPPET: &str = "the Puppet agent's certificate or its key";
const KUBEADM: &str = "`kubeadm reset`, and join each server with a token of its own";
const SNMP: &str = "the SNMP engine's id";
const SNMP_REMEDY: &str = "remove the lines engineBoots and oldEngineID; users of SNMPv3 are bound to the id: make them at the first boot";
const ERLANG: &str = "Erlang's cookie: whoever knows it runs commands as the service";
const TOR: &str = "a Tor relay's or onion service's key";

/// The table. Of two rows for one file, their systems tell which counts.
pub(crate) const IDENTITIES: &[Identity] = &[
    // Storage.
    Identity { system: With(STARTUP_CHECKS), renewal: Written(GENERATE_NAME, "iscsid.service"), ..INITIATOR },
    Identity { system: Without(STARTUP_CHECKS), ..INITIATOR },
    id("/etc/nvme/hostnqn", "the NVMe host's name", "nvme"),
    id("/etc/nvme/hostid", "the NVMe host's id", "nvme"),
    id("/etc/lvm/devices/system.devices", "the list of disks that LVM uses", "`vgimportdevices`"),
    id("/var/lib/glusterd/glusterd.info", "the Gluster node's UUID", "glusterd"),
    // Networks.
    id("/etc/openvswitch/system-id.conf", "the Open vSwitch system's id", "openvswitch-switch.service"),
    Identity { line: "oldEngineID", ..lasting_id("/var/lib/snmp/snmpd.conf", SNMP, SNMP_REMEDY) },
    Identity { line: "oldEngineID", ..lasting_id("/var/lib/net-snmp/snmpd.conf", SNMP, SNMP_REMEDY) },
    secret("/var/lib/tor/keys/*", TOR, "tor"),
    lasting_secret(
        "/var/lib/tor/*/hs_ed25519_secret_key",
        TOR,
        "remove the service's folder: tor makes another one",
    ),
    // Databases and queues.
    id("/var/lib/mysql/auto.cnf", "the MySQL server's UUID", "mysqld"),
    lasting_id(
        "/var/lib/etcd/*/member",
        "an etcd member, with its data",
        "remove it: etcd makes a new member, without data",
    ),
    lasting_id(
        "/var/lib/etcd/member",
        "an etcd member, with its data",
        "remove it: etcd makes a new member, without data",
    ),
    secret("/var/lib/rabbitmq/.erlang.cookie", ERLANG, "Erlang"),
    secret("/var/lib/ejabberd/.erlang.cookie", ERLANG, "Erlang"),
    // Containers and clusters.
    id("/var/lib/docker/engine-id", "the Docker engine's id", "dockerd"),
    secret("/etc/docker/key.json", "the Docker engine's key and id", "dockerd"),
    id("/var/lib/containerd/io.containerd.*.introspection/uuid", "containerd's id", "containerd"),
    lasting_secret("/var/lib/kubelet/pki/*", "a node's place in a Kubernetes cluster", KUBEADM),
    lasting_secret("/etc/kubernetes/*.conf", "a node's place in a Kubernetes cluster", KUBEADM),
    lasting_secret("/etc/kubernetes/pki/*.key", "a Kubernetes cluster's key", KUBEADM),
    lasting_secret(
        "/etc/rancher/node/password",
        "a k3s node's password",
        "remove it, and /var/lib/rancher/k3s/agent",
    ),
    lasting_secret(
        "/var/lib/rancher/k3s/server/token",
        "a k3s cluster's token",
        "remove /var/lib/rancher/k3s/server",
    ),
    id("/var/lib/consul/node-id", "the Consul node's id", "consul"),
    id("/opt/consul/node-id", "the Consul node's id", "consul"),
    id("/var/lib/nomad/client/*-id", "the Nomad client's id or its secret", "nomad"),
    id("/opt/nomad/data/client/*-id", "the Nomad client's id or its secret", "nomad"),
    secret("/var/lib/pcsd/pcsd.*", "the key of the cluster's web interface", "pcsd"),
    // Agents.
    id("/etc/salt/minion_id", "the Salt minion's name", "salt-minion"),
    secret("/etc/salt/pki/minion/minion.p*", "the Salt minion's key", "salt-minion"),
    secret("/etc/puppetlabs/puppet/ssl/private_keys/*", PUPPET, "puppet agent"),
    secret("/etc/puppetlabs/puppet/ssl/certs/*", PUPPET, "puppet agent"),
    secret("/var/lib/puppet/ssl/private_keys/*", PUPPET, "puppet agent"),
    secret("/var/lib/puppet/ssl/certs/*", PUPPET, "puppet agent"),
    lasting_secret(
        "/etc/chef/client.pem",
        "the Chef client's key",
        "remove it, and let each server register by itself",
    ),
    lasting_id(
        "/var/lib/teleport/host_uuid",
        "the Teleport agent's id",
        "remove /var/lib/teleport, and join each server with a token of its own",
    ),
    id("/var/lib/netdata/registry/netdata.public.unique.id", "the Netdata agent's id", "netdata"),
    id("/var/lib/landscape/client/broker.bpickle", "the Landscape client's registration", "landscape-client"),
    Identity {
        line: "PARTICIPATE=\"yes\"",
        ..lasting_id(
            "/etc/popularity-contest.conf",
            "the number under which the machine's packages are counted",
            "remove it, and run `dpkg-reconfigure -f noninteractive popularity-contest` at the first boot",
        )
    },
    // Subscriptions and clouds.
    lasting_secret(
        "/etc/pki/consumer/*.pem",
        "the system's certificate for its subscription",
        "`subscription-manager clean`",
    ),
    id("/etc/insights-client/machine-id", "the Insights client's id", "insights-client"),
    lasting_secret(
        "/var/lib/snapd/device/private-keys-v1/*",
        "the key with which snapd is known to the store",
        "purge and install snapd anew in the image, which was started with it",
    ),
    secret("/var/lib/waagent/*", "what Azure's agent was told for one server", "walinuxagent"),
    lasting_secret(
        "/var/lib/amazon/ssm/Vault/Store/*",
        "the SSM agent's registration",
        "`amazon-ssm-agent -register -clear`",
    ),
    // Keys that installations make.
    secret("/var/lib/fwupd/pki/*", "fwupd's key for its reports", "fwupd"),
    secret("/etc/cockpit/ws-certs.d/0-self-signed*", "Cockpit's certificate or its key", "cockpit.service"),
    lasting_secret(
        "/etc/ssl/private/ssl-cert-snakeoil.key",
        "the key of a certificate that all clones have",
        "remove it, and run `make-ssl-cert generate-default-snakeoil` at the first boot, before what uses it",
    ),
    lasting_secret(
        "/etc/bind/rndc.key",
        "the key with which named is controlled",
        "remove it, and run `rndc-confgen -a` at the first boot, before named.service",
    ),
    Identity {
        system: With("/usr/lib/tmpfiles.d/varnish.conf"),
        ..secret("/etc/varnish/secret", "the secret with which Varnish is controlled", "systemd-tmpfiles")
    },
    Identity {
        system: Without("/usr/lib/tmpfiles.d/varnish.conf"),
        ..lasting_secret(
            "/etc/varnish/secret",
            "the secret with which Varnish is controlled",
            "remove it, and write another one at the first boot: varnish.service does not start without it",
        )
    },
    lasting_secret(
        "/etc/pacemaker/authkey",
        "the key of the cluster's remote nodes",
        "remove it, and write that of the server's own cluster at the first boot",
    ),
    lasting_secret(
        "/etc/corosync/authkey",
        "the cluster's key",
        "remove it, and write that of the server's own cluster at the first boot",
    ),
    lasting_secret(
        "/etc/munge/munge.key",
        "the key with which MUNGE trusts",
        "remove it, and write that of the server's own cluster at the first boot",
    ),
    lasting_secret(
        "/etc/dropbear/initramfs/dropbear_*_host_key",
        "the SSH host key of each initrd",
        "remove it, and run `dpkg-reconfigure dropbear-initramfs` and `update-initramfs -u` at the first boot",
    ),
    lasting_secret(
        "/etc/nsd/nsd_*.key",
        "a key with which nsd is controlled",
        "remove it, and run `nsd-control-setup` at the first boot, before nsd.service",
    ),
    lasting_secret(
        "/etc/ejabberd/ejabberd.pem",
        "the key of a certificate that all clones have",
        "remove it, and make another one at the first boot, before ejabberd.service",
    ),
    lasting_secret(
        "/etc/xrdp/rsakeys.ini",
        "the key of xrdp's own encryption",
        "remove it, and run `xrdp-keygen xrdp auto` at the first boot, before xrdp.service",
    ),
    lasting_secret(
        "/etc/bacula/common_default_passwords",
        "the passwords of Bacula's daemons",
        "remove it, and write passwords of the server's own into /etc/bacula at the first boot",
    ),
    lasting_secret(
        "/var/lib/phpmyadmin/blowfish_secret.inc.php",
        "the key of phpMyAdmin's cookies",
        "remove it, and write another one at the first boot",
    ),
    Identity {
        line: "admin_pass:",
        ..lasting_secret(
            "/etc/mailman3/mailman.cfg",
            "the password of Mailman's own interface",
            "write another `admin_pass` at the first boot, here and where mailman3-web has it",
        )
    },
    // What keeps all that was removed.
    lasting_secret(
        "/etc/.git",
        "the history of /etc, with every secret that was there",
        "remove it; `etckeeper init` makes another one",
    ),
];
