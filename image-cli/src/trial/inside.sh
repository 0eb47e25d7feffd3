#!/bin/sh
# Runs in the guest, as user data at its first boot: says on the second serial port what the guest is like.
#
#   hello                 it runs
#   begin
#   fact NAME EXIT        what a command said and how it ended
#   | a line of it
#   end
#
# It waits for the boot to end, and is part of it; so it goes on by itself.
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
LC_ALL=C
export PATH LC_ALL
if [ "$1" != report ]; then
    setsid sh "$0" report </dev/null >/dev/null 2>&1 &
    exit 0
fi

port=/dev/ttyS1
stty -F "$port" raw -echo
exec >"$port" 2>&1

fact() {
    name=$1
    shift
    said=$("$@" 2>&1 </dev/null)
    code=$?
    echo "fact $name $code"
    [ -z "$said" ] || printf '%s\n' "$said" | sed 's/^/| /'
}

root_disk() {
    numbers=$(awk '$5 == "/" { found = $3 } END { print found }' /proc/self/mountinfo)
    echo "filesystem $(stat -f -c '%S %b' /)"
    for number in start size; do
        [ ! -e "/sys/dev/block/$numbers/$number" ] || echo "$number $(cat "/sys/dev/block/$numbers/$number")"
    done
    [ ! -e "/sys/dev/block/$numbers/partition" ] || echo "disk $(cat "/sys/dev/block/$numbers/../size")"
}

# Whose login takes the key, as a line of its own without restrictions.
key_users() {
    getent passwd | while IFS=: read -r user _ _ _ _ home _; do
        [ ! -f "$home/.ssh/authorized_keys" ] || ! grep -q '^ssh-ed25519 .*@KEY@' "$home/.ssh/authorized_keys" || echo "$user"
    done
}

# An empty field is a login without a password; "!" and "*" are none with one.
password_users() {
    awk -F: '$2 !~ /^[!*]/ { print $1 }' /etc/shadow
}

time_service() {
    for unit in systemd-timesyncd chrony chronyd ntp ntpsec ntpd openntpd; do
        [ "$(systemctl is-active $unit)" != active ] || echo "$unit"
    done
}

ages() {
    for file in /etc/machine-id /etc/ssh/ssh_host_*_key; do
        stat -c '%Y %n' "$file"
    done
}

# What waits for a network, and how long it took.
network_wait() {
    systemctl show --property=Id,InactiveExitTimestampMonotonic,ActiveEnterTimestampMonotonic \
        systemd-networkd-wait-online.service NetworkManager-wait-online.service networking.service
}

resolver() {
    cat /etc/resolv.conf /run/systemd/resolve/resolv.conf /etc/network/interfaces.d/* 2>/dev/null
}

# The firmware and the boot loader may have left a line without its end.
echo
echo hello
timeout @WAIT@ cloud-init status --wait >/dev/null 2>&1
timeout @WAIT@ systemctl is-system-running --wait >/dev/null 2>&1

echo begin
fact cloud-init cloud-init status --long
fact result cat /run/cloud-init/result.json
fact hostname cat /proc/sys/kernel/hostname
fact machine-id cat /etc/machine-id
fact host-keys sh -c 'cat /etc/ssh/ssh_host_*_key.pub'
fact boot-time awk '/^btime/ { print $2 }' /proc/stat
fact ages ages
fact root-disk root_disk
fact addresses ip -o addr show scope global
fact links ip -o link
fact routes ip route
fact resolver resolver
fact network-wait network_wait
fact instance-id cat /var/lib/cloud/data/instance-id
fact vendor-data cat /run/goldimg-vendor-data
fact key-users key_users
fact password-users password_users
fact system systemctl is-system-running
fact failed-units systemctl list-units --state=failed --no-legend --plain --full
fact time-service time_service
fact clock date +%s
fact kernel uname -r
fact release sh -c '. /etc/os-release && echo "$PRETTY_NAME"'
echo end
