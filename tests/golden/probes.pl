#!/usr/bin/perl
# What a program in a sandbox can see and do of the machine around it: one line for each thing that checklists of
# container escapes name, "probe NAME=denied WHY" or "probe NAME=allowed WHAT".
#
# Nothing is harmed: files are opened and not written, folders listed, system calls made with arguments that mean
# nothing. A call that is answered with another complaint than "not permitted" has got through. What the machine has
# comes in variables, PROBE_…; words that are searched for come backwards, so that they are not found in those.
use strict;
use warnings;
no warnings 'portable'; # numbers of 64 bits
use Errno qw(EPERM EACCES ENOSYS ENXIO EINVAL);
use Fcntl qw(O_RDONLY O_WRONLY O_NONBLOCK O_NOCTTY);
use POSIX ();
use Socket;

$| = 1;
$ENV{PATH} = '/usr/sbin:/usr/bin:/sbin:/bin';
my %given = map { $_ => $ENV{"PROBE_$_"} // die "no PROBE_$_\n" }
    qw(SECRET FILE FOLDER BOOT_ID MACHINE_ID NAMESPACES DISK DISK_NAME PORT ADDRESS ABSTRACT SEGMENT);
my $secret = reverse $given{SECRET};
my $file = reverse $given{FILE};
my $folder = reverse $given{FOLDER};
my $disk_name = reverse $given{DISK_NAME};

my $why;
sub denied { $why = shift // "$!"; return }

# Each probe answers with what it got hold of, or with nothing.
sub probe {
    my ($name, $code) = @_;
    $why = '';
    my $got = eval { $code->() };
    $why = $@ if $@;
    my $line = defined $got ? "allowed $got" : "denied $why";
    $line =~ s/[^ -~]/?/g;
    print "probe $name=", substr($line, 0, 300), "\n";
}

sub slurp {
    my ($path, $most) = @_;
    sysopen(my $handle, $path, O_RDONLY | O_NONBLOCK | O_NOCTTY) or return denied();
    my ($text, $part) = ('', '');
    while (length $text < ($most // 1 << 20)) {
        my $read = sysread($handle, $part, 65536);
        return denied() if !defined $read && $text eq '';
        last if !$read;
        $text .= $part;
    }
    return $text eq '' ? denied('empty') : $text;
}

# Says that a file has something in it.
sub content { my $text = slurp(shift); return defined $text ? length($text) . ' bytes' : undef }

sub opens { my ($path, $how) = @_; return sysopen(my $handle, $path, $how | O_NONBLOCK | O_NOCTTY) ? $path : denied() }

# In a process of its own, which what is tried may change. 0 stands for "got through".
sub aside {
    my $code = shift;
    pipe(my $from, my $to) or die "pipe: $!";
    my $child = fork // die "fork: $!";
    if (!$child) {
        my $got = eval { $code->() };
        syswrite($to, defined $got ? "+$got" : "-$why");
        POSIX::_exit(0);
    }
    close $to;
    local $/;
    my $said = <$from>;
    waitpid $child, 0;
    return $1 if $said =~ /\A\+(.*)/s;
    return denied(substr($said, 1));
}

# Numbers of system calls: x86_64, and the others' (asm-generic/unistd.h).
my $x86 = (POSIX::uname())[4] =~ /x86_64|i.86/;
my %number = (
    ptrace => [101, 117], pivot_root => [155, 41], settimeofday => [164, 170], mount => [165, 40], umount2 => [166, 39],
    swapon => [167, 224], init_module => [175, 105], kexec_load => [246, 104], add_key => [248, 217],
    keyctl => [250, 219], unshare => [272, 97], perf_event_open => [298, 241], open_by_handle_at => [304, 265],
    setns => [308, 268], process_vm_readv => [310, 270], finit_module => [313, 273], bpf => [321, 280],
    clone => [56, 220], syslog => [103, 116], sethostname => [170, 161], acct => [163, 89], userfaultfd => [323, 282],
    pidfd_open => [434, 434], pidfd_getfd => [438, 438], fsopen => [430, 430], open_tree => [428, 428],
    move_mount => [429, 429], io_uring_setup => [425, 425], mount_setattr => [442, 442], reboot => [169, 142],
    quotactl => [179, 60], clone3 => [435, 435], kcmp => [312, 272], clock_settime => [227, 112],
);
sub call {
    my ($name, @arguments) = @_;
    return syscall($number{$name}[$x86 ? 0 : 1], @arguments);
}

# Whether a call gets past the question whether it is permitted.
sub calls {
    my ($name, @arguments) = @_;
    return aside(sub {
        my $result = call($name, @arguments);
        return "it did" if $result != -1;
        return $! == EPERM || $! == EACCES || $! == ENOSYS ? denied() : "it says: $!";
    });
}

# --- Process 1, and others.
for my $name (qw(environ maps mem auxv stack syscall io pagemap numa_maps smaps)) {
    # Some open for all and tell only some.
    probe("process-1-$name", sub { opens("/proc/1/$name", O_RDONLY) // return; return content("/proc/1/$name") });
}
for my $name (qw(root cwd exe)) {
    probe("process-1-$name", sub { readlink("/proc/1/$name") // denied() });
}
probe('process-1-files', sub {
    opendir(my $all, '/proc/1/fd') or return denied();
    my @files = map { readlink("/proc/1/fd/$_") // () } readdir $all;
    return @files ? "@files" : denied('none');
});
probe('process-1-command-line', sub {
    my $words = slurp('/proc/1/cmdline') // return;
    return $words eq "goldimg-init\0" ? denied('only its name') : $words;
});
probe('process-1-signals', sub {
    kill $_, 1 for qw(TERM HUP INT USR1 KILL);
    return kill(0, 1) ? denied('it lives') : 'it is gone';
});
probe('process-1-ptrace', sub { calls('ptrace', 0x4206, 1, 0, 0) });
probe('process-1-memory', sub {
    my $buffer = "\0" x 8;
    my $here = pack 'J J', unpack('J', pack 'p', $buffer), 8;
    calls('process_vm_readv', 1, $here, 1, pack('J J', 0, 8), 1, 0);
});
probe('process-1-descriptors', sub {
    aside(sub {
        my $process = call('pidfd_open', 1, 0);
        return denied() if $process < 0;
        my $result = call('pidfd_getfd', $process, 0, 0);
        return $result < 0 && ($! == EPERM || $! == ENOSYS) ? denied() : "it says: $!";
    });
});
probe('process-1-compare', sub { calls('kcmp', 1, $$, 2, 0, 0) });
sub processes { opendir(my $proc, '/proc') or die "/proc: $!"; return grep { /^[0-9]+$/ } readdir $proc }
probe('other-processes', sub {
    my %own = (1 => 1, $$ => 1);
    # A shell that started this one is the step, too.
    for (my $at = $$; $at > 1; $own{$at} = 1) { $at = (slurp("/proc/$at/stat") // '') =~ /\) . (\d+)/ ? $1 : 0 }
    my @others = grep { !$own{$_} } processes();
    return @others ? "@others" : denied('only its own');
});
probe('environment-of-the-caller', sub {
    my @found = grep { index(slurp("/proc/$_/environ") // '', $secret) >= 0 } processes();
    return @found ? "in process @found" : denied('nowhere');
});
sub has_secret { return index(slurp(shift) // '', $secret) >= 0 }
probe('descriptors-of-the-caller', sub {
    my @found = grep { -f $_ && has_secret($_) } map { glob "/proc/$_/fd/*" } processes();
    return @found ? "@found" : denied('nowhere');
});
probe('standard-files', sub {
    my @files = grep { !m{^(pipe|socket):|^/dev/(null|pts/\d+)$} } map { readlink("/proc/self/fd/$_") // () } 0 .. 2;
    return @files ? "@files" : denied('pipes');
});
probe('terminal', sub { opens('/dev/tty', O_RDONLY) });
probe('typing-into-a-terminal', sub {
    # TIOCSTI of nowhere.
    for my $handle (*STDIN, *STDOUT, *STDERR) {
        return 'it would' if ioctl($handle, 0x5412, 0);
        return "it says: $!" if $! != EPERM && $! != POSIX::ENOTTY();
    }
    return denied();
});

# --- Files of the machine.
probe('file-of-the-caller', sub { has_secret($file) ? $file : denied('not there') });
probe('file-through-roots', sub {
    my @found = grep { has_secret($_) } map { ("/proc/$_/root$file", "/proc/$_/cwd$file") } processes();
    return @found ? "@found" : denied('not there');
});
probe('folder-of-the-caller', sub { -e $folder ? $folder : denied('not there') });
probe('root-of-the-root', sub { -e "/../../../../../..$file" ? $file : denied('not there') });
probe('chroot-and-up', sub {
    aside(sub {
        my $below = '/tmp/probe';
        mkdir $below;
        chroot $below or return denied();
        chdir '..' for 1 .. 64;
        chroot '.' or return denied();
        return -e $file || !-e '/usr/bin/perl' ? 'it is somewhere else' : denied('it is where it was');
    });
});
rmdir '/tmp/probe';
probe('old-root', sub {
    # What has been moved aside by pivot_root would be among the mounts.
    my @mounts = map { (split)[4] } split /\n/, slurp('/proc/self/mountinfo') // '';
    my @strange = grep { !m{^/(proc|dev|sys|run|var/cache/apt/archives|tmp)?(/|$)} } @mounts;
    return @strange ? "@strange" : denied('none');
});
probe('open-by-handle', sub { calls('open_by_handle_at', -100, 0, 0) });

# --- Devices.
my %usual = map { $_ => 1 }
    qw(null zero full random urandom tty fd stdin stdout stderr ptmx pts shm console core mqueue . ..);
probe('devices', sub {
    opendir(my $dev, '/dev') or return denied();
    my @others = grep { !$usual{$_} } readdir $dev;
    return @others ? "@others" : denied('only the usual ones');
});
my ($major, $minor) = split /:/, $given{DISK};
my %node = (
    'disk' => ['b', $major, $minor], 'memory' => ['c', 1, 1], 'ports' => ['c', 1, 4], 'kernel-log' => ['c', 1, 11],
    'kvm' => ['c', 10, 232], 'fuse' => ['c', 10, 229], 'tun' => ['c', 10, 200], 'loop-control' => ['c', 10, 237],
    'console' => ['c', 5, 1], 'loop0' => ['b', 7, 0],
);
sub make_node {
    my ($path, $kind, $node_major, $node_minor) = @_;
    my $mode = ($kind eq 'b' ? 0060000 : 0020000) | 0600;
    my $device = ($node_minor & 0xff) | ($node_major << 8) | (($node_minor & ~0xff) << 12);
    # mknod, mknodat
    return syscall($x86 ? 133 : 33, $x86 ? ($path, $mode, $device) : (-100, $path, $mode, $device)) == 0;
}
for my $name (sort keys %node) {
    probe("node-of-$name", sub {
        my @got;
        for my $place ('/tmp', '/dev', '/dev/shm', '/run', '/srv') {
            my $path = "$place/probe-node";
            if (make_node($path, @{ $node{$name} })) {
                push @got, $place if sysopen(my $handle, $path, O_RDONLY | O_NONBLOCK | O_NOCTTY);
                $why = "$!";
                unlink $path;
            } elsif (!$why) { $why = "$!" }
        }
        return @got ? "opened in @got" : undef;
    });
}

# --- /proc and /sys.
for my $name (qw(kcore keys key-users kmsg timer_list sched_debug interrupts acpi scsi asound)) {
    probe("proc-$name", sub { -d "/proc/$name" ? listing("/proc/$name") : content("/proc/$name") });
}
for my $name (qw(cmdline partitions diskstats modules mdstat swaps config.gz mtrr vmallocinfo)) {
    probe("proc-$name", sub { content("/proc/$name") });
}
sub listing {
    opendir(my $all, shift) or return denied();
    my @names = grep { !/^\.\.?$/ } readdir $all;
    return @names ? join(' ', sort @names) : denied('empty');
}
# All files below a folder, without those of processes, following no link. A visitor gets path and mode.
sub walk {
    my ($top, $visit) = @_;
    my @folders = ($top);
    while (defined(my $at = pop @folders)) {
        opendir(my $all, $at) or next;
        for my $name (readdir $all) {
            next if $name =~ /^\.\.?$/ || ($at eq '/proc' && $name =~ /^\d+$/);
            my $path = "$at/$name";
            my @found = lstat $path or next;
            if (POSIX::S_ISDIR($found[2])) { push @folders, $path }
            elsif (POSIX::S_ISREG($found[2])) { $visit->($path, $found[2]) }
        }
    }
}
probe('proc-writable', sub {
    my @writable;
    # Root can open any, but nothing is behind those that nobody may write to.
    walk('/proc', sub { push @writable, $_[0] if $_[1] & 0222 && sysopen(my $handle, $_[0], O_WRONLY | O_NONBLOCK | O_NOCTTY) });
    return @writable ? scalar(@writable) . ": @writable" : denied('nothing');
});
for my $name (qw(sysrq-trigger sys/kernel/core_pattern sys/kernel/modprobe sys/kernel/hostname sys/vm/drop_caches
    sys/fs/binfmt_misc/register sys/net/ipv4/ip_forward)) {
    probe("write-$name", sub { opens("/proc/$name", O_WRONLY) });
}
probe('proc-names-the-disk', sub {
    my @found;
    walk('/proc', sub { push @found, $_[0] if $_[0] =~ /\b\Q$disk_name\E\b/ || (slurp($_[0], 1 << 16) // '') =~ /\b\Q$disk_name\E\b/ });
    return @found ? "@found" : denied('nowhere');
});
probe('proc-names-the-caller', sub {
    my @found;
    walk('/proc', sub { push @found, $_[0] if index(slurp($_[0], 1 << 16) // '', $folder) >= 0 });
    return @found ? "@found" : denied('nowhere');
});
probe('sys-files', sub {
    my @found;
    walk('/sys', sub { push @found, $_[0] if @found < 8 });
    return @found ? "@found" : denied('none');
});
probe('sys-writable', sub { mkdir('/sys/probe') ? do { rmdir '/sys/probe'; '/sys' } : denied() });
for my $name (qw(firmware block class/net class/dmi kernel/security kernel/debug fs/cgroup power module bus/pci)) {
    probe("sys-$name", sub { listing("/sys/$name") });
}
probe('cgroup-release-agent', sub {
    my @found = grep { -e } glob '/sys/fs/cgroup/release_agent /sys/fs/cgroup/*/release_agent /sys/fs/cgroup/cgroup.procs';
    return @found ? "@found" : denied('none');
});
probe('cgroup-path', sub {
    my @paths = grep { !m{^/$} } map { (split /:/, $_, 3)[2] } split /\n/, slurp('/proc/self/cgroup') // '';
    return @paths ? "@paths" : denied('/');
});

# --- Who the machine is.
probe('boot-id', sub {
    my $id = slurp('/proc/sys/kernel/random/boot_id') // return;
    return $id =~ /\Q$given{BOOT_ID}\E/ ? "the machine's" : denied('another');
});
probe('hostname', sub { my $name = (POSIX::uname())[1]; $name eq 'localhost' ? denied('localhost') : $name });
probe('machine-id', sub {
    my $id = slurp('/etc/machine-id') // return;
    return $id =~ /\Q$given{MACHINE_ID}\E/ ? "the machine's" : denied('another');
});
# user: of root only, who is root of the machine's and has no more than a container's capabilities in it.
for my $space (qw(mnt pid ipc uts cgroup time net user)) {
    probe("namespace-$space", sub {
        my $own = readlink("/proc/self/ns/$space") // return denied();
        return $given{NAMESPACES} =~ /\Q$own\E/ ? 'the machine\'s' : denied($own =~ /^$space/ ? 'another' : 'none');
    });
}

# --- Namespaces, mounts and the kernel.
my %flag = (mnt => 0x20000, cgroup => 0x2000000, uts => 0x4000000, ipc => 0x8000000, user => 0x10000000,
    pid => 0x20000000, net => 0x40000000, time => 0x80);
for my $space (sort keys %flag) { probe("unshare-$space", sub { calls('unshare', $flag{$space}) }) }
for my $space (qw(user mnt net)) {
    probe("clone-$space", sub {
        aside(sub {
            # A child in new namespaces, without memory of its own until it ends.
            my $child = call('clone', $flag{$space} | 17, 0, 0, 0, 0);
            POSIX::_exit(0) if $child == 0;
            return denied() if $child < 0 && ($! == EPERM || $! == ENOSYS);
            waitpid $child, 0 if $child > 0;
            return $child > 0 ? 'it did' : "it says: $!";
        });
    });
}
probe('clone3', sub { calls('clone3', 0, 0) });
for my $space (qw(mnt pid net user)) {
    probe("join-$space-of-1", sub {
        aside(sub {
            sysopen(my $space_file, "/proc/1/ns/$space", O_RDONLY) or return denied();
            my $result = call('setns', fileno $space_file, 0);
            return 'it did' if $result == 0;
            return $! == EPERM || $! == ENOSYS ? denied() : "it says: $!";
        });
    });
}
my @meaningless = (
    mount => ['probe', '/nonexistent', 'nonexistent', 0, 0], umount2 => ['/nonexistent', 0],
    pivot_root => ['/nonexistent', '/nonexistent'], fsopen => ['nonexistent', 0], open_tree => [-1, '/nonexistent', 0],
    move_mount => [-1, '/nonexistent', -1, '/nonexistent', 0], mount_setattr => [-1, '/nonexistent', 0, 0, 0],
    setns => [-1, 0], bpf => [-1, 0, 0], perf_event_open => [0, 0, -1, -1, 0], keyctl => [-1, 0, 0, 0, 0],
    add_key => [0, 0, 0, 0, 0], kexec_load => [0, 0, 0, 0xffff], init_module => [0, 0, 0],
    finit_module => [-1, 0, 0], swapon => ['/nonexistent', 0], settimeofday => [8, 0], clock_settime => [-1, 0],
    syslog => [10, 0, 0], acct => ['/nonexistent/file'], userfaultfd => [-1], io_uring_setup => [0, 0],
    reboot => [0, 0, 0, 0], quotactl => [-1, 0, 0, 0],
);
while (my ($name, $arguments) = splice @meaningless, 0, 2) { probe("call-$name", sub { calls($name, @$arguments) }) }
probe('set-hostname', sub { my $name = 'localhost'; calls('sethostname', $name, length $name) });

# --- Privileges.
my %status = map { /^(\w+):\s*(.*)/ ? ($1 => $2) : () } split /\n/, slurp('/proc/self/status') // '';
# Docker's default without CAP_NET_RAW: chown, dac_override, fowner, fsetid, kill, setgid, setuid, setpcap,
# net_bind_service, sys_chroot, mknod, audit_write, setfcap.
my $container = 0;
$container |= 1 << $_ for 0, 1, 3, 4, 5, 6, 7, 8, 10, 18, 27, 29, 31;
for my $set (qw(CapInh CapPrm CapEff CapBnd CapAmb)) {
    probe("capabilities-$set", sub { my $more = hex($status{$set}) & ~$container; $more ? sprintf('%x', $more) : denied('none more') });
}
probe('without-filter', sub { $status{Seccomp} == 2 ? denied('filtered') : "Seccomp: $status{Seccomp}" });
probe('signals-ignored', sub { # Perl itself ignores SIGFPE, and the C library's posix_spawn its own two, 32 and 33.
    my $all = (hex($status{SigIgn}) & ~0x180000080) | hex($status{SigBlk}); $all ? sprintf('%x', $all) : denied('none') });
probe('groups-of-the-caller', sub { my @groups = grep { $_ ne '0' } split ' ', $status{Groups} // ''; @groups ? "@groups" : denied('none') });
probe('core-dumps', sub {
    my $line = (grep { /core file size/ } split /\n/, slurp('/proc/self/limits') // '')[0];
    return $line =~ /size\s+0\s+0\s/ ? denied('0') : $line;
});
probe('umask', sub { my $mask = umask; $mask == 022 ? denied('022') : sprintf('%03o', $mask) });
probe('personality', sub { my $now = syscall($x86 ? 135 : 92, 0xffffffff); $now ? sprintf('%x', $now) : denied('0') });
probe('variables', sub {
    my @others = grep { !/^(PROBE_\w+|PATH|HOME|LANG|LC_ALL|TERM|TZ|USER|LOGNAME|SHELL|PWD|DEBIAN_FRONTEND|DEBCONF_\w+|SOURCE_DATE_EPOCH|SYSTEMD_OFFLINE|APT_LISTCHANGES_FRONTEND|(no|http|https)_proxy)$/i } keys %ENV;
    return @others ? join(' ', sort @others) : denied('only its own');
});

# --- Network and IPC.
sub reach { my ($family, $address) = @_; socket(my $socket, $family, SOCK_STREAM, 0) or return denied(); return connect($socket, $address) ? $socket : denied() }
for my $to (['tcp-on-loopback', '127.0.0.1'], ['tcp-on-the-machine', $given{ADDRESS}], ['tcp-by-the-gateway', '10.0.2.2']) {
    probe($to->[0], sub {
        my ($name, $host) = @$to;
        local $SIG{ALRM} = sub { die "no answer\n" };
        alarm 20;
        my $socket = reach(PF_INET, pack_sockaddr_in($given{PORT}, inet_aton($host))) // do { alarm 0; return };
        my $said = readline $socket;
        alarm 0;
        return index($said // '', $secret) >= 0 ? "the service at $host" : denied('another');
    });
}
for my $host ('127.0.0.1', 'localhost', $given{ADDRESS}) {
    probe("tcp-by-the-proxy-$host", sub {
        local $SIG{ALRM} = sub { die "no answer\n" };
        alarm 20;
        my $socket = reach(PF_INET, pack_sockaddr_in(61080, inet_aton('127.0.0.1'))) // do { alarm 0; return };
        syswrite $socket, "CONNECT $host:$given{PORT} HTTP/1.1\r\nHost: $host:$given{PORT}\r\n\r\n";
        # A refusal may leave the connection open; behind a tunnel is what the service says.
        my ($said, $part) = ('', '');
        while ($said !~ /\r\n\r\n/ || $said =~ /^HTTP\S+ 2/) {
            sysread($socket, $part, 4096) or last;
            $said .= $part;
        }
        alarm 0;
        return index($said // '', $secret) >= 0 ? "the service at $host" : denied((split /\r/, "$said nothing")[0]);
    });
}
probe('abstract-socket', sub { reach(PF_UNIX, pack_sockaddr_un("\0$given{ABSTRACT}")) ? 'connected' : undef });
probe('shared-memory', sub { my $segment = shmget($given{SEGMENT}, 0, 0); defined $segment ? "segment $segment" : denied() });
probe('shared-memory-list', sub { my @lines = split /\n/, slurp('/proc/sysvipc/shm') // ''; @lines > 1 ? scalar(@lines) : denied('none') });
for my $path (qw(/run/docker.sock /var/run/docker.sock /run/podman/podman.sock /run/containerd/containerd.sock
    /run/dbus/system_bus_socket /run/systemd/private /run/udev /run/systemd/journal/socket)) {
    probe("socket-$path", sub { -e $path ? $path : denied('not there') });
}
probe('hypervisor-socket', sub { socket(my $socket, 40, SOCK_STREAM, 0) ? 'a socket' : denied() });
probe('raw-socket', sub { socket(my $socket, PF_INET, SOCK_RAW, 1) ? 'a socket' : denied() });
probe('packet-socket', sub { socket(my $socket, 17, SOCK_RAW, 0) ? 'a socket' : denied() });

# Left where the test looks, in the machine's folder of packages.
if (open my $planted, '>', '/var/cache/apt/archives/probe_1_all.deb') { print $planted $secret; close $planted }
print "probe end=denied\n";
