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
    # Without one the trial has its limit.
    while [ ! -b /dev/vda2 ] && [ ! -b /dev/sda2 ]; do sleep 0.1; done
    root=/dev/vda2
    [ -b $root ] || root=/dev/sda2
    mke2fs $root >/dev/null
    mount -t ext4 $root /new
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
# A DUID made of the machine-id (RFC 4361; type 2 of RFC 8415), as systemd-networkd makes it.
duid=0002$(cat /etc/machine-id)
case $fault in same-duid) duid=000200000000 ;; esac
ip link set lo up
for interface in eth0 eth1; do [ ! -e /sys/class/net/$interface ] || ip link set $interface up; done
[ ! -e /sys/class/net/eth0 ] || udhcpc -q -n -t 100 -i eth0 -C -x "0x3d:ff00000001$duid" -s /bin/udhcpc-script >/dev/null
# The power button is an input device; an event of it is 24 bytes.
case $fault in
no-button) ;;
*) for device in /dev/input/event*; do (dd if="$device" of=/dev/null bs=24 count=1 2>/dev/null && poweroff -f) & done ;;
esac

# What happens on a console.
case $fault in
failed-unit) echo '[FAILED] Failed to start lame.service - Lame.' ;;
off) poweroff -f ;;
question)
    printf '%s' '-- Press any key to proceed --'
    read -r _
    ;;
esac

# What cloud-init would do: a config drive comes first, then the metadata service, then a seed.
datasource=
documents=/run/documents
mkdir -p $documents
if [ $fault = no-seed ]; then
    :
elif [ -b /dev/sr0 ]; then
    mount -t iso9660 -o ro /dev/sr0 /seed
    documents=/seed/openstack/latest
    datasource='DataSourceConfigDrive [net,ver=2][source=/dev/sr0]'
elif grep -q '^OpenStack Nova$' /sys/class/dmi/id/product_name; then
    for name in meta_data.json network_data.json user_data vendor_data.json; do
        wget -q -O $documents/$name "http://169.254.169.254/openstack/2018-08-27/$name" &&
            datasource='DataSourceOpenStackLocal [net,ver=2]'
    done
elif [ -b /dev/vdb ]; then
    mount -t iso9660 -o ro /dev/vdb /seed
    documents=/seed
    datasource='DataSourceNoCloud [seed=/dev/vdb]'
fi

# The strings and numbers with this key, in the order of the document.
values() {
    sed -n "s/.*\"$1\": \"\{0,1\}\([^\",]*\).*/\1/p" "$2"
}

# The second interface has two addresses; of a route, the gateway comes before its network.
apply_network_data() {
    data=$documents/network_data.json
    values mtu "$data" >/run/mtus
    values ethernet_mac_address "$data" | paste -d ' ' - /run/mtus | while read -r mac mtu; do
        for interface in eth0 eth1; do
            ! grep -q "$mac" "/sys/class/net/$interface/address" || ip link set "$interface" mtu "$mtu"
        done
    done
    for address in $(values ip_address "$data"); do
        case $address in *:*) ip addr add "$address/64" dev eth1 ;; *) ip addr add "$address/24" dev eth1 ;; esac
    done
    values network "$data" >/run/networks
    values gateway "$data" | paste -d ' ' - /run/networks | while read -r gateway network; do
        case $network in 0.0.0.0) to=default ;; *) to=$network/24 ;; esac
        ip route add "$to" via "$gateway" dev eth1
    done
    values address "$data" | sed 's/^/nameserver /' >/etc/resolv.conf
}

if [ -n "$datasource" ]; then
    case $datasource in
    *NoCloud*)
        hostname "$(values local-hostname $documents/meta-data)"
        meta_data=$documents/meta-data
        user_data=$documents/user-data
        ;;
    *)
        meta_data=$documents/meta_data.json
        user_data=$documents/user_data
        hostname "$(values hostname $meta_data)"
        mkdir -p /var/lib/cloud/data
        values uuid $meta_data >/var/lib/cloud/data/instance-id
        sed -n 's/.*\(vendor data of [0-9a-f-]*\).*/\1/p' $documents/vendor_data.json >/run/goldimg-vendor-data
        [ $fault = no-network-data ] || apply_network_data
        ;;
    esac
    key=$(values trial $meta_data)
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
    echo "{\"v1\": {\"datasource\": \"$datasource\", \"errors\": []}}" >/run/cloud-init/result.json
    echo "Cloud-init v. 0 finished at the end"
    cp $user_data /run/user-data
    sh /run/user-data
fi
while true; do getty -L ttyS0 115200 vt100; done
