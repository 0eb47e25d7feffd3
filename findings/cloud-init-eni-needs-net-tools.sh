#!/bin/sh
# Guess: cloud-init with ifupdown sets the default route that OpenStack gives to a server with a fixed address.
# Instead it writes `post-up route add default gw ... || true`, and `route` is in net-tools, which neither cloud-init nor ifupdown asks
# for (they bring iproute2): the server comes up without a default route, and "|| true" hides it. 22.4.2 does the same; 26.2 writes
# `ip route` where ip is installed. An image for fixed addresses with ifupdown needs net-tools, or netplan or networkd.
set -eu
export LC_ALL=C
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
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
unpack trixie "cloud-init=$version,ca-certificates,dash,coreutils,base-files,ifupdown=0.8.44+deb13u1"
# Maintainer scripts make this file; they are not run here.
cat "$work"/trixie/usr/share/ca-certificates/mozilla/*.crt >"$work/trixie/etc/ssl/certs/ca-certificates.crt"
cat >"$work/trixie/w/network_data.json" <<'END'
{"links": [{"id": "tap1", "vif_id": "v", "type": "ovs", "mtu": 1450, "ethernet_mac_address": "52:54:00:12:34:56"}],
 "networks": [{"id": "network0", "type": "ipv4", "link": "tap1", "network_id": "n", "ip_address": "192.0.2.5", "netmask": "255.255.255.0",
   "routes": [{"network": "0.0.0.0", "netmask": "0.0.0.0", "gateway": "192.0.2.1"}]}],
 "services": [{"type": "dns", "address": "192.0.2.53"}]}
END
run trixie 'cloud-init devel net-convert -p network_data.json -k network_data.json -d / -D debian -m eth0,52:54:00:12:34:56 -O eni' >"$work/log" 2>&1
line=$(sed -n 's/^ *\(post-up .*\)/\1/p' "$work/trixie/etc/network/interfaces.d/50-cloud-init")
code=0
said=$(run trixie "${line#post-up }" 2>&1) || code=$?
has() {
    for folder in bin sbin usr/bin usr/sbin; do
        [ ! -e "$work/trixie/$folder/$1" ] || { echo "$1: yes"; return; }
    done
    echo "$1: no"
}
seen="cloud-init $version with ifupdown and all they depend on: $line; $(has ip), $(has route);"
seen="$seen the line says \"$said\", exit $code"
known='cloud-init 25.1.4-1+deb13u1 with ifupdown and all they depend on: post-up route add default gw 192.0.2.1 || true; ip: yes, route: no;'
known="$known the line says \"dash: 1: route: not found\", exit 0"

seen=${seen% } known=${known% }
echo "$seen"
[ "$seen" = "$known" ] || { echo "$0: the facts changed; they were: $known" >&2; exit 1; }
