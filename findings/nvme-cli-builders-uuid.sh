#!/bin/sh
# Guess: the name of an NVMe host (/etc/nvme/hostnqn) that a package makes at installation is a new one each time.
# Instead nvme-cli makes it of the UUID that the firmware tells: all images that one machine builds have the same name, and it is that machine's own.
# Only where /sys does not show it, as in a container, it is a new one. hostid, beside it, always is.
set -eu
export LC_ALL=C
[ "${1-}" = inside ] || exec unshare --mount -- "$0" inside
work=$(mktemp -d)
trap 'code=$?; rm -rf "$work"; [ "$code" = 0 ] || echo "$0: ended with $code" >&2' EXIT
trap 'exit 1' HUP INT TERM

# A machine's firmware, as Linux shows it.
uuid=11111111-2222-3333-4444-555555555555
mkdir -p "$work/sys/class/dmi/id"
echo "$uuid" >"$work/sys/class/dmi/id/product_uuid"
seen=
for release in bookworm=2.4+really2.3-3 trixie=2.13-2; do
    suite=${release%%=*} tree=$work/${release%%=*}
    mmdebstrap --quiet --mode=root --variant=essential --include="nvme-cli=${release#*=}" "$suite" "$tree" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        echo "$0: the archive no longer has, in $suite: nvme-cli=${release#*=}" >&2
        exit 2
    }
    mount --bind "$work/sys" "$tree/sys"
    mount --bind /dev/urandom "$(: >"$tree/dev/urandom"; echo "$tree/dev/urandom")"
    installed() {
        rm -f "$tree"/etc/nvme/host*
        chroot "$tree" sh /var/lib/dpkg/info/nvme-cli.postinst configure >>"$work/log" 2>&1
    }
    installed
    first=$(cat "$tree/etc/nvme/hostid") name=$(cat "$tree/etc/nvme/hostnqn")
    installed
    seen="$seen${release#*=}: hostnqn of the second installation: $(sed "s/$uuid/the machine's UUID/" "$tree/etc/nvme/hostnqn")"
    [ "$name" = "$(cat "$tree/etc/nvme/hostnqn")" ] && seen="$seen, as the first one's"
    [ "$first" = "$(cat "$tree/etc/nvme/hostid")" ] && seen="$seen; hostid the same. " || seen="$seen; hostid another one. "
    umount "$tree/sys" "$tree/dev/urandom"
done
each="hostnqn of the second installation: nqn.2014-08.org.nvmexpress:uuid:the machine's UUID, as the first one's; hostid another one."
known="2.4+really2.3-3: $each 2.13-2: $each"

seen=${seen% } known=${known% }
echo "$seen"
[ "$seen" = "$known" ] || { echo "$0: the facts changed; they were: $known" >&2; exit 1; }
