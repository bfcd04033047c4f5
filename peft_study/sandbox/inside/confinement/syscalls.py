"""Numbers of system calls: those that programs need, and those that are refused with a clear error.

Numbers are from Linux's arch/x86/entry/syscalls/syscall_64.tbl and include/uapi/asm-generic/unistd.h. An entry is
`name x86_64 aarch64`, with `-` if the machine lacks the call.
"""

import os

_ALLOWED = """
read 0 63, write 1 64, readv 19 65, writev 20 66, pread64 17 67, pwrite64 18 68, preadv 295 69, pwritev 296 70,
preadv2 327 286, pwritev2 328 287, close 3 57, close_range 436 436, lseek 8 62, open 2 -, openat 257 56, creat
85 -, stat 4 -, fstat 5 80, lstat 6 -, newfstatat 262 79, statx 332 291, access 21 -, faccessat 269 48,
faccessat2 439 439, readlink 89 -, readlinkat 267 78, getdents 78 -, getdents64 217 61, mkdir 83 -, mkdirat 258
34, rmdir 84 -, unlink 87 -, unlinkat 263 35, rename 82 -, renameat 264 38, renameat2 316 276, link 86 -, linkat
265 37, symlink 88 -, symlinkat 266 36, chmod 90 -, fchmod 91 52, fchmodat 268 53, fchmodat2 452 452, truncate
76 45, ftruncate 77 46, fallocate 285 47, utime 132 -, utimes 235 -, utimensat 280 88, futimesat 261 -, chdir 80
49, fchdir 81 50, getcwd 79 17, umask 95 166, dup 32 23, dup2 33 -, dup3 292 24, flock 73 32, fsync 74 82,
fdatasync 75 83, sync_file_range 277 84, fadvise64 221 223, readahead 187 213, statfs 137 43, fstatfs 138 44,
pipe 22 -, pipe2 293 59, poll 7 -, ppoll 271 73, select 23 -, pselect6 270 72, epoll_create 213 -, epoll_create1
291 20, epoll_ctl 233 21, epoll_wait 232 -, epoll_pwait 281 22, epoll_pwait2 441 441, eventfd 284 -, eventfd2
290 19, signalfd 282 -, signalfd4 289 74, timerfd_create 283 85, timerfd_settime 286 86, timerfd_gettime 287 87,
sendfile 40 71, copy_file_range 326 285, mmap 9 222, munmap 11 215, mprotect 10 226, mremap 25 216, madvise 28
233, brk 12 214, mincore 27 232, msync 26 227, membarrier 324 283, rt_sigaction 13 134, rt_sigprocmask 14 135,
rt_sigreturn 15 139, rt_sigpending 127 136, rt_sigtimedwait 128 137, rt_sigsuspend 130 133, sigaltstack 131 132,
pause 34 -, futex 202 98, futex_waitv 449 449, set_robust_list 273 99, get_robust_list 274 100, set_tid_address
218 96, rseq 334 293, sched_yield 24 124, sched_getaffinity 204 123, sched_getparam 143 121, sched_getscheduler
145 120, sched_get_priority_max 146 125, sched_get_priority_min 147 126, sched_rr_get_interval 148 127,
getpriority 140 141, getcpu 309 168, arch_prctl 158 -, nanosleep 35 101, clock_nanosleep 230 115, clock_gettime
228 113, clock_getres 229 114, gettimeofday 96 169, time 201 -, times 100 153, getrusage 98 165, getitimer 36
102, setitimer 38 103, alarm 37 -, timer_create 222 107, timer_settime 223 110, timer_gettime 224 108,
timer_getoverrun 225 109, timer_delete 226 111, getpid 39 172, getppid 110 173, gettid 186 178, getuid 102 174,
geteuid 107 175, getgid 104 176, getegid 108 177, getresuid 118 148, getresgid 120 150, getgroups 115 158,
getpgrp 111 -, getpgid 121 155, getsid 124 156, setsid 112 157, setpgid 109 154, uname 63 160, sysinfo 99 179,
getrandom 318 278, getrlimit 97 163, setrlimit 160 164, capget 125 90, restart_syscall 219 128, exit 60 93,
exit_group 231 94, wait4 61 260, waitid 247 95, execve 59 221, sendmsg 46 211, recvmsg 47 212, recvfrom 45 207,
sendmmsg 307 269, recvmmsg 299 243, shutdown 48 210, getsockopt 55 209, setsockopt 54 208, getsockname 51 204,
getpeername 52 205
"""
_WITH_ARGUMENTS = """
clone 56 220, fork 57 -, vfork 58 -, kill 62 129, tgkill 234 131, ioctl 16 29, prctl 157 167, prlimit64 302 261,
socketpair 53 199, sendto 44 206, fcntl 72 25
"""
_WITHOUT_ATTRIBUTES = """
getxattr 191 8, lgetxattr 192 9, fgetxattr 193 10, listxattr 194 11, llistxattr 195 12, flistxattr 196 13,
setxattr 188 5, lsetxattr 189 6, fsetxattr 190 7
"""
_REFUSED = """
socket 41 198, connect 42 203, bind 49 200, listen 50 201, accept 43 202, accept4 288 242, ptrace 101 117,
process_vm_readv 310 270, process_vm_writev 311 271, pidfd_open 434 434, pidfd_send_signal 424 424, pidfd_getfd
438 438, unshare 272 97, setns 308 268, mount 165 40, umount2 166 39, pivot_root 155 41, chroot 161 51, bpf 321
280, perf_event_open 298 241, userfaultfd 323 282, keyctl 250 219, add_key 248 217, request_key 249 218, shmget
29 194, shmat 30 196, shmctl 31 195, semget 64 190, msgget 68 186, setuid 105 146, setgid 106 144, setresuid 117
147, setresgid 119 149, setreuid 113 145, setregid 114 143, setgroups 116 159, sched_setaffinity 203 122,
sched_setscheduler 144 119, setpriority 141 140, mknod 133 -, mknodat 259 33, chown 92 -, fchown 93 55, lchown
94 -, fchownat 260 54, tkill 200 130, rt_sigqueueinfo 129 138, rt_tgsigqueueinfo 297 240, personality 135 92,
memfd_create 319 279, io_uring_setup 425 425, seccomp 317 277, landlock_create_ruleset 444 444,
landlock_add_rule 445 445, landlock_restrict_self 446 446, open_by_handle_at 304 -, kcmp 312 272,
process_madvise 440 440, mq_open 240 180, splice 275 76, vmsplice 278 75, tee 276 77, capset 126 91
"""
AUDIT_ARCHITECTURES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""The kernel's number of each supported machine (AUDIT_ARCH_* in linux/audit.h)."""
MACHINE = os.uname().machine


def _numbers(table: str) -> dict[str, int]:
    column = 1 if MACHINE == "x86_64" else 2
    rows = [row.split() for row in table.replace("\n", " ").split(", ")]
    return {row[0]: int(row[column]) for row in rows if row[column] != "-"}


ALLOWED = _numbers(_ALLOWED)
"""Allowed with any arguments."""
WITH_ARGUMENTS = _numbers(_WITH_ARGUMENTS)
"""Allowed for some arguments."""
WITHOUT_ATTRIBUTES = _numbers(_WITHOUT_ATTRIBUTES)
"""Answered as by a file system without extended attributes."""
REFUSED = _numbers(_REFUSED)
"""Answered with "not permitted". Calls that no table lists return "function not implemented"."""
