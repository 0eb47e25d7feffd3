#!/bin/sh
# Guess: the iSCSI initiator's name is a file in /etc: who captures a server as an image removes it, and each clone makes its own.
# Instead Debian's package makes it when it is installed, iscsid does not start where it is missing, and initramfs-tools' hook copies it into
# each initrd, needed or not: the name stays in the image after the file went, and two builds of one image differ in their initrds.
# With "GenerateName=yes" in the file, written before the package is installed, neither is so.
set -eu
export LC_ALL=C
work=$(mktemp -d)
trap 'code=$?; rm -rf "$work"; [ "$code" = 0 ] || echo "$0: ended with $code" >&2' EXIT
trap 'exit 1' HUP INT TERM

seen=
for release in bookworm=2.1.8-1+deb12u1 trixie=2.1.11-1+deb13u2; do
    suite=${release%%=*} tree=$work/${release%%=*}
    mmdebstrap --quiet --mode=root --variant=essential --include="open-iscsi=${release#*=},initramfs-tools" "$suite" "$tree" >"$work/log" 2>&1 || {
        cat "$work/log" >&2
        echo "$0: the archive no longer has, in $suite: open-iscsi=${release#*=}" >&2
        exit 2
    }
    # No kernel is needed: an initrd of scripts, for one that has no modules.
    mkdir -p "$tree/usr/lib/modules/0" "$tree/w"
    echo CONFIG_RD_GZIP=y >"$tree/boot/config-0"
    # How the initrd named NAME calls the machine, of the names that the files have.
    name_in() {
        chroot "$tree" sh -c "depmod 0; COMPRESS=gzip mkinitramfs -c gzip -o /w/$1 0; unmkinitramfs /w/$1 /w/$1.d" >>"$work/log" 2>&1
        find "$tree/w/$1.d" -path '*/etc/initiatorname.iscsi' -exec sed -n 's/^\(InitiatorName\|GenerateName\)=.*/\1/p' {} +
    }
    seen="$seen${release#*=}: in the initrd: $(name_in made); "
    rm "$tree/etc/iscsi/initiatorname.iscsi"
    chroot "$tree" /lib/open-iscsi/startup-checks.sh >>"$work/log" 2>&1 && seen="${seen}starts without; " || seen="${seen}does not start without; "
    echo GenerateName=yes >"$tree/etc/iscsi/initiatorname.iscsi"
    seen="${seen}then in the initrd: $(name_in later); "
    chroot "$tree" /lib/open-iscsi/startup-checks.sh
    seen="${seen}names of its own: $(grep -c ^InitiatorName=iqn "$tree/etc/iscsi/initiatorname.iscsi"). "
done
each='in the initrd: InitiatorName; does not start without; then in the initrd: GenerateName; names of its own: 1.'
known="2.1.8-1+deb12u1: $each 2.1.11-1+deb13u2: $each"

seen=${seen% } known=${known% }
echo "$seen"
[ "$seen" = "$known" ] || { echo "$0: the facts changed; they were: $known" >&2; exit 1; }
