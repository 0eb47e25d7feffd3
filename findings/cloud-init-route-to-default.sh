#!/bin/sh
# Guess: a network configuration that `cloud-init schema` calls valid can be written by every renderer.
# Instead `routes: [{to: default, via: ...}]`, which is how netplan writes a default route, passes the schema, and then only the netplan
# renderer takes it: networkd, eni and NetworkManager end in "Address default is not a valid ip address", and nothing is written.
# 22.4.2 (without a schema for networks) fails in the same way as 25.1.4, 26.2 takes it. Write `to: 0.0.0.0/0`: all of them take that.
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
cat >"$work/trixie/w/default.yaml" <<'END'
network:
  version: 2
  ethernets:
    eth0:
      addresses: [192.0.2.5/24]
      routes: [{to: default, via: 192.0.2.1}]
END
sed 's,to: default,to: 0.0.0.0/0,' "$work/trixie/w/default.yaml" >"$work/trixie/w/zeroes.yaml"
printf 'systemd-network:x:998:\n' >>"$work/trixie/etc/group"
printf 'systemd-network:x:998:998::/:/usr/sbin/nologin\n' >>"$work/trixie/etc/passwd"
seen="cloud-init $version:"
for to in default zeroes; do
    seen="$seen $to: $(run trixie "cloud-init schema -t network-config -c $to.yaml 2>&1" | sed -n '/schema/{s/ [a-z]*.yaml//;p}')"
    for renderer in netplan networkd eni network-manager; do
        code=0
        run trixie "cloud-init devel net-convert -p $to.yaml -k yaml -d out -D debian -m eth0,52:54:00:12:34:56 -O $renderer" >"$work/log" 2>&1 || code=$?
        seen="$seen, $renderer $code$(sed -n 's/^ValueError: \(.*\)/ "\1"/p' "$work/log")"
    done
    seen="$seen;"
done
said='1 "Address default is not a valid ip address"'
known="cloud-init 25.1.4-1+deb13u1: default: Valid schema, netplan 0, networkd $said, eni $said, network-manager $said;"
known="$known zeroes: Valid schema, netplan 0, networkd 0, eni 0, network-manager 0;"

seen=${seen% } known=${known% }
echo "$seen"
[ "$seen" = "$known" ] || { echo "$0: the facts changed; they were: $known" >&2; exit 1; }
