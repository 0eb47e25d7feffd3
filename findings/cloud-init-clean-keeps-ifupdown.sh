#!/bin/sh
# Guess: `cloud-init clean --configs all` ("network" is one of them) removes the network configuration that cloud-init has written.
# Instead it looks for /etc/network/interfaces.d/50-cloud-init.cfg, and on Debian cloud-init writes it without ".cfg": the file stays, and so
# does /etc/udev/rules.d/70-persistent-net.rules with the MAC address of the server. netplan's and networkd's files do go. 26.2 is the same.
# Who captures a server as an image must remove both: every clone tries the first one's address, until cloud-init writes anew.
set -eu
export LC_ALL=C
work=$(mktemp -d)
trap 'code=$?; rm -rf "$work"; [ "$code" = 0 ] || echo "$0: ended with $code" >&2' EXIT
trap 'exit 1' HUP INT TERM

# Unpacks packages of a suite, with what they need, into a folder. Nothing is configured or installed.
unpack() {
    mmdebstrap --quiet --mode=root --variant=extract --include="$2" "$1" "$work/$1" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        echo "$0: the archive no longer has, in $1: $2" >&2
        exit 2
    }
    mkdir "$work/$1/w"
}

# Runs a line of shell in such a folder.
run() {
    chroot "$work/$1" dash -c "cd /w; $2"
}

version=25.1.4-1+deb13u1
unpack trixie "cloud-init=$version,ca-certificates,dash,coreutils,base-files"
# Maintainer scripts make this file; they are not run here.
cat "$work"/trixie/usr/share/ca-certificates/mozilla/*.crt >"$work/trixie/etc/ssl/certs/ca-certificates.crt"
cat >"$work/trixie/w/network_data.json" <<'END'
{"links": [{"id": "tap1", "vif_id": "v", "type": "ovs", "mtu": 1450, "ethernet_mac_address": "52:54:00:12:34:56"}],
 "networks": [{"id": "network0", "type": "ipv4", "link": "tap1", "network_id": "n", "ip_address": "192.0.2.5", "netmask": "255.255.255.0",
   "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"}]}],
 "services": [{"type": "dns", "address": "192.0.2.53"}]}
END
run trixie 'cloud-init devel net-convert -p network_data.json -k network_data.json -d / -D debian -m eth0,52:54:00:12:34:56 -O eni' >"$work/log" 2>&1
run trixie 'cloud-init devel net-convert -p network_data.json -k network_data.json -d / -D debian -m eth0,52:54:00:12:34:56 -O netplan' >"$work/log" 2>&1
files() {
    (cd "$work/trixie" && grep -rlE '192.0.2.5/24|52:54:00:12:34:56' etc | sort | sed 's,^, /,' | tr -d '\n')
}
seen="cloud-init $version: written:$(files);"
mkdir -p "$work/trixie/var/lib/cloud"
code=0
run trixie 'cloud-init clean --logs --seed --configs all' >"$work/log" 2>&1 || code=$?
seen="$seen clean --configs all: exit $code, left:$(files)"
left='/etc/network/interfaces.d/50-cloud-init'
rules='/etc/udev/rules.d/70-persistent-net.rules'
known="cloud-init 25.1.4-1+deb13u1: written: /etc/netplan/50-cloud-init.yaml $left $rules; clean --configs all: exit 0, left: $left $rules"

seen=${seen% } known=${known% }
echo "$seen"
[ "$seen" = "$known" ] || { echo "$0: the facts changed; they were: $known" >&2; exit 1; }
