#!/bin/sh
# Guess: a package that is installed into a tree takes nothing of the machine that builds it into the image.
# Instead the postinst of systemd-resolved keeps the resolv.conf with which the tree reached its mirror as
# /etc/.resolv.conf.systemd-resolved.bak; that of Debian 13 also copies it to /run/systemd/resolve/stub-resolv.conf.
# mmdebstrap's cleaning takes /run away, the hidden file stays: name servers and search domains of the builder, in every clone.
set -eu
export LC_ALL=C
work=$(mktemp -d)
trap 'code=$?; rm -rf "$work"; [ "$code" = 0 ] || echo "$0: ended with $code" >&2' EXIT
trap 'exit 1' HUP INT TERM

# The tree's own resolv.conf: mmdebstrap copies the machine's, this one is known.
resolv='nameserver 192.0.2.53'
seen=
for release in bookworm=252.39-1~deb12u2 trixie=257.13-1~deb13u1; do
    suite=${release%%=*}
    mmdebstrap --quiet --mode=root --variant=essential --include="systemd-resolved=${release#*=}" \
        --essential-hook="echo '$resolv' >\"\$1/etc/resolv.conf\"" "$suite" "$work/$suite" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        echo "$0: the archive no longer has, in $suite: systemd-resolved=${release#*=}" >&2
        exit 2
    }
    seen="$seen${release#*=}: resolv.conf is $(readlink "$work/$suite/etc/resolv.conf"); the builder's is in:"
    seen="$seen$(cd "$work/$suite" && grep -rlF --exclude-dir=proc --exclude-dir=sys "$resolv" etc run | sort | sed 's,^, /,' | tr -d '\n'). "
done
link='resolv.conf is ../run/systemd/resolve/stub-resolv.conf'
known="252.39-1~deb12u2: $link; the builder's is in: /etc/.resolv.conf.systemd-resolved.bak. "
known="${known}257.13-1~deb13u1: $link; the builder's is in: /etc/.resolv.conf.systemd-resolved.bak. "

seen=${seen% } known=${known% }
echo "$seen"
[ "$seen" = "$known" ] || { echo "$0: the facts changed; they were: $known" >&2; exit 1; }
