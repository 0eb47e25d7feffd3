#!/bin/busybox sh
# The whole system of the fixture: makes its root filesystem on the second partition, and behaves as a cloud image does.
#
# Words on the kernel's command line make it misbehave: fault=NAME.

export PATH=/bin:/sbin:/usr/bin:/usr/sbin
fault=none

# Into the new root.
if [ ! -e /booted ]; then
    /bin/busybox --install -s /bin
    mkdir -p /proc /sys /dev /new
    mount -t devtmpfs dev /dev
    exec </dev/console >/dev/console 2>&1
    mount -t proc proc /proc
    mount -t sysfs sys /sys
    for module in $(cat /modules); do insmod "/lib/modules/$module.ko"; done
    tries=0
    while [ ! -b /dev/vda2 ] && [ $tries -lt 50 ]; do sleep 0.1; tries=$((tries + 1)); done
    mke2fs /dev/vda2 >/dev/null
    mount -t ext4 /dev/vda2 /new
    for folder in bin lib lib64 usr init; do [ ! -e /$folder ] || cp -a /$folder /new; done
    mkdir -p /new/proc /new/sys /new/dev /new/run /new/etc /new/root /new/seed /new/tmp
    touch /new/booted
    umount /proc
    umount /sys
    umount /dev
    exec switch_root /new /init
fi

mount -t devtmpfs dev /dev
exec </dev/console >/dev/console 2>&1
mount -t proc proc /proc
mount -t sysfs sys /sys
mkdir -p /dev/pts
mount -t devpts pts /dev/pts
for word in $(cat /proc/cmdline); do
    case $word in fault=*) fault=${word#fault=} ;; esac
done

# What systemd would do.
tr -d - </sys/class/dmi/id/product_uuid >/etc/machine-id
case $fault in clone) echo 0123456789abcdef0123456789abcdef >/etc/machine-id ;; esac
ip link set lo up
ip link set eth0 up
udhcpc -q -n -i eth0 -s /bin/udhcpc-script >/dev/null
# The power button is an input device; an event of it is 24 bytes.
case $fault in
no-button) ;;
*) for device in /dev/input/event*; do (dd if="$device" of=/dev/null bs=24 count=1 2>/dev/null && poweroff -f) & done ;;
esac

# What cloud-init would do.
if [ $fault != no-seed ]; then
    mount -t iso9660 -o ro /dev/vdb /seed
    hostname "$(sed -n 's/.*"local-hostname": "\([^"]*\)".*/\1/p' /seed/meta-data)"
    key=$(sed -n 's/.*"trial": "\([^"]*\)".*/\1/p' /seed/meta-data)
    mkdir -p /home/tester/.ssh /etc/ssh /etc/dropbear /run/cloud-init
    case $fault in
    wrong-key) echo "$key" | sed 's/AAAAC3NzaC1lZDI1NTE5AAAAI../AAAAC3NzaC1lZDI1NTE5AAAAIAA/' ;;
    *) echo "$key" ;;
    esac >/home/tester/.ssh/authorized_keys
    echo 'root:x:0:0:root:/root:/bin/sh' >/etc/passwd
    echo 'tester:x:1000:1000:tester:/home/tester:/bin/sh' >>/etc/passwd
    echo 'tester:x:1000:' >/etc/group
    printf 'root:*:19000::::::\ntester:!:19000::::::\n' >/etc/shadow
    chown -R 1000:1000 /home/tester
    chmod 700 /home/tester /home/tester/.ssh
    dropbearkey -t ed25519 -f /etc/ssh/ssh_host_ed25519_key >/dev/null 2>&1
    dropbearkey -y -f /etc/ssh/ssh_host_ed25519_key | grep '^ssh-' >/etc/ssh/ssh_host_ed25519_key.pub
    case $fault in
    password) dropbear -r /etc/ssh/ssh_host_ed25519_key ;;
    *) dropbear -s -r /etc/ssh/ssh_host_ed25519_key ;;
    esac
    cat >/run/cloud-init/result.json <<'END'
{"v1": {"datasource": "DataSourceNoCloud [seed=/dev/vdb]", "errors": []}}
END
    echo "Cloud-init v. 0 finished"
    cp /seed/user-data /run/user-data
    sh /run/user-data
fi
while true; do getty -L ttyS0 115200 vt100; done
