//! What the static binary uses instead of musl's functions: an allocator, and on x86-64 `memcpy`, `memmove` and
//! `memcmp`, where musl's are `rep movsq` and loops over bytes, which cost most in a benchmark with many short strings.
//! Only a binary may do this: a library must not replace functions of its host program. `scripts/bench-static-memory`
//! compares the collector with and without this crate; measured figures are in ARCHITECTURE.md.
#![deny(unsafe_op_in_unsafe_fn)]

/// With musl's allocator a benchmark of small requests takes 1.5 to 3 times the CPU; with mimalloc as little as with
/// this one, and 6 MB more memory when idle.
#[cfg(target_env = "musl")]
#[global_allocator]
static ALLOCATOR: dlmalloc::GlobalDlmalloc = dlmalloc::GlobalDlmalloc;

#[cfg(all(target_arch = "x86_64", any(test, target_env = "musl")))]
std::arch::global_asm!(
    // memcpy(rdi: to, rsi: from, rdx: length) -> rax: to. Short lengths use overlapping loads from both ends. Up to 128
    // bytes all loads come before the stores, and longer copies go forward, so that a memmove downwards may use it too.
    ".p2align 5",
    "otelcore_memcpy:",
    "mov rax, rdi",
    "cmp rdx, 16",
    "jb 20f",
    "cmp rdx, 32",
    "ja 30f",
    "movups xmm0, [rsi]",
    "movups xmm1, [rsi + rdx - 16]",
    "movups [rdi], xmm0",
    "movups [rdi + rdx - 16], xmm1",
    "ret",
    "20:", // below 16
    "cmp edx, 8",
    "jb 21f",
    "mov rcx, [rsi]",
    "mov r8, [rsi + rdx - 8]",
    "mov [rdi], rcx",
    "mov [rdi + rdx - 8], r8",
    "ret",
    "21:", // below 8
    "cmp edx, 4",
    "jb 22f",
    "mov ecx, [rsi]",
    "mov r8d, [rsi + rdx - 4]",
    "mov [rdi], ecx",
    "mov [rdi + rdx - 4], r8d",
    "ret",
    "22:", // below 4
    "test edx, edx",
    "je 23f",
    "movzx ecx, byte ptr [rsi]",
    "movzx r8d, byte ptr [rsi + rdx - 1]",
    "shr rdx",
    "movzx r9d, byte ptr [rsi + rdx]",
    "mov [rdi + rdx], r9b",
    "adc rdx, rdx", // the length again: what shr shifted out is in the carry
    "mov [rdi], cl",
    "mov [rdi + rdx - 1], r8b",
    "23:",
    "ret",
    "30:", // above 32
    "movups xmm0, [rsi]",
    "movups xmm1, [rsi + 16]",
    "movups xmm2, [rsi + rdx - 32]",
    "movups xmm3, [rsi + rdx - 16]",
    "cmp rdx, 64",
    "ja 40f",
    "movups [rdi], xmm0",
    "movups [rdi + 16], xmm1",
    "movups [rdi + rdx - 32], xmm2",
    "movups [rdi + rdx - 16], xmm3",
    "ret",
    "40:", // above 64
    "movups xmm4, [rsi + rdx - 64]",
    "movups xmm5, [rsi + rdx - 48]",
    "cmp rdx, 2048",
    "jae 50f",
    "lea r8, [rdi + rdx]",     // the end
    "lea r9, [rdi + rdx - 64]", // where the last 64 begin
    "41:",
    "movups xmm0, [rsi]",
    "movups xmm1, [rsi + 16]",
    "movups xmm6, [rsi + 32]",
    "movups xmm7, [rsi + 48]",
    "movups [rdi], xmm0",
    "movups [rdi + 16], xmm1",
    "movups [rdi + 32], xmm6",
    "movups [rdi + 48], xmm7",
    "add rsi, 64",
    "add rdi, 64",
    "cmp rdi, r9",
    "jb 41b",
    "movups [r8 - 64], xmm4",
    "movups [r8 - 48], xmm5",
    "movups [r8 - 32], xmm2",
    "movups [r8 - 16], xmm3",
    "ret",
    "50:", // long: `rep movsb` is the fastest
    "mov rcx, rdx",
    "rep movsb",
    "ret",
    // memmove, the same arguments: an overlapping copy upwards goes backwards from the end, all others as above.
    ".p2align 5",
    "otelcore_memmove:",
    "mov rcx, rdi",
    "sub rcx, rsi",
    "cmp rcx, rdx",
    "jae otelcore_memcpy",
    "cmp rdx, 64",
    "jbe otelcore_memcpy",
    "mov rax, rdi",
    "movups xmm2, [rsi]",
    "movups xmm3, [rsi + 16]",
    "movups xmm4, [rsi + 32]",
    "movups xmm5, [rsi + 48]",
    "80:",
    "movups xmm0, [rsi + rdx - 16]",
    "movups xmm1, [rsi + rdx - 32]",
    "movups xmm6, [rsi + rdx - 48]",
    "movups xmm7, [rsi + rdx - 64]",
    "movups [rdi + rdx - 16], xmm0",
    "movups [rdi + rdx - 32], xmm1",
    "movups [rdi + rdx - 48], xmm6",
    "movups [rdi + rdx - 64], xmm7",
    "sub rdx, 64",
    "cmp rdx, 64",
    "ja 80b",
    "movups [rdi], xmm2",
    "movups [rdi + 16], xmm3",
    "movups [rdi + 32], xmm4",
    "movups [rdi + 48], xmm5",
    "ret",
    // memcmp(rdi, rsi, rdx: length) -> eax: the difference of the first bytes that differ.
    ".p2align 5",
    "otelcore_memcmp:",
    "xor ecx, ecx",
    "cmp rdx, 16",
    "jb 70f",
    "lea r8, [rdx - 16]", // where the last 16 begin
    "60:",
    "movdqu xmm0, [rdi + rcx]",
    "movdqu xmm1, [rsi + rcx]",
    "pcmpeqb xmm0, xmm1",
    "pmovmskb eax, xmm0",
    "xor eax, 0xffff",
    "jne 61f",
    "cmp rcx, r8",
    "jae 72f",
    "add rcx, 16",
    "cmp rcx, r8",
    "cmova rcx, r8",
    "jmp 60b",
    "61:",
    "bsf eax, eax",
    "add rcx, rax",
    "movzx eax, byte ptr [rdi + rcx]",
    "movzx edx, byte ptr [rsi + rcx]",
    "sub eax, edx",
    "ret",
    "70:", // below 16
    "cmp edx, 8",
    "jb 73f",
    "mov rax, [rdi]",
    "mov r8, [rsi]",
    "cmp rax, r8",
    "jne 71f",
    "mov rax, [rdi + rdx - 8]",
    "mov r8, [rsi + rdx - 8]",
    "cmp rax, r8",
    "je 72f",
    "71:", // eight bytes that differ, the first one lowest in memory
    "bswap rax",
    "bswap r8",
    "xor ecx, ecx",
    "cmp rax, r8",
    "seta cl",
    "lea eax, [rcx + rcx - 1]",
    "ret",
    "72:",
    "xor eax, eax",
    "ret",
    "73:", // below 8
    "cmp rcx, rdx",
    "je 72b",
    "movzx eax, byte ptr [rdi + rcx]",
    "movzx r8d, byte ptr [rsi + rcx]",
    "inc rcx",
    "sub eax, r8d",
    "je 73b",
    "ret",
    ".globl otelcore_memcpy, otelcore_memmove, otelcore_memcmp",
    ".hidden otelcore_memcpy, otelcore_memmove, otelcore_memcmp",
    // The linker uses the first definition that it finds, so musl's are left out: also musl's memmove, which jumps to
    // musl's memcpy.
    ".if {musl}",
    ".globl memcpy, memmove, memcmp, bcmp",
    ".type memcpy, @function",
    ".type memmove, @function",
    ".type memcmp, @function",
    ".type bcmp, @function",
    ".set memcpy, otelcore_memcpy",
    ".set memmove, otelcore_memmove",
    ".set memcmp, otelcore_memcmp",
    ".set bcmp, otelcore_memcmp",
    ".endif",
    musl = const if cfg!(target_env = "musl") { 1 } else { 0 },
);

#[cfg(test)]
#[cfg(target_arch = "x86_64")]
mod tests {
    use std::ffi::c_int;

    unsafe extern "C" {
        fn otelcore_memcpy(to: *mut u8, from: *const u8, length: usize) -> *mut u8;
        fn otelcore_memmove(to: *mut u8, from: *const u8, length: usize) -> *mut u8;
        fn otelcore_memcmp(a: *const u8, b: *const u8, length: usize) -> c_int;
    }

    /// Every short length, and some around each border.
    fn lengths() -> impl Iterator<Item = usize> {
        (0..300).chain([511, 512, 1000, 2047, 2048, 2049, 5000])
    }

    fn pattern(length: usize) -> Vec<u8> {
        (0..length).map(|i| u8::try_from(i * 31 % 251).unwrap()).collect()
    }

    #[test]
    fn memcpy_copies_every_byte_and_writes_no_other() {
        let from = pattern(6000);
        for length in lengths() {
            for (from_at, to_at) in [(0, 0), (1, 0), (0, 3), (7, 9), (16, 32)] {
                let mut to = vec![0xff; 6000];
                // SAFETY: both ranges lie in their vectors, which are 6000 long.
                let returned =
                    unsafe { otelcore_memcpy(to.as_mut_ptr().add(to_at), from.as_ptr().add(from_at), length) };
                assert_eq!(returned, to.as_mut_ptr().wrapping_add(to_at));
                assert_eq!(to[to_at..to_at + length], from[from_at..from_at + length], "{length}");
                assert!(to[..to_at].iter().chain(&to[to_at + length..]).all(|b| *b == 0xff), "{length}");
            }
        }
    }

    #[test]
    fn memmove_of_overlapping_ranges_is_right_in_both_directions() {
        for length in lengths() {
            for by in [0, 1, 3, 8, 15, 16, 17, 63, 64, 100] {
                for (from, to) in [(by, 0), (0, by)] {
                    let (mut bytes, original) = (pattern(6000), pattern(6000));
                    let at = bytes.as_mut_ptr();
                    // SAFETY: both ranges lie in the vector.
                    let returned = unsafe { otelcore_memmove(at.add(to), at.add(from), length) };
                    assert_eq!(returned, at.wrapping_add(to));
                    assert_eq!(bytes[to..to + length], original[from..from + length], "{length} by {by}");
                    assert_eq!(bytes[..to], original[..to], "{length} by {by}");
                    assert_eq!(bytes[to + length..], original[to + length..], "{length} by {by}");
                }
            }
        }
    }

    #[test]
    fn memcmp_has_the_sign_of_the_first_difference() {
        for length in lengths() {
            let a = pattern(length);
            // SAFETY: both are as long as is said.
            let compare = |b: &[u8]| unsafe { otelcore_memcmp(a.as_ptr(), b.as_ptr(), length) }.signum();
            assert_eq!(compare(&a.clone()), 0, "{length}");
            for at in (0..length).step_by(if length < 300 { 1 } else { 97 }) {
                let mut b = a.clone();
                b[at] ^= 0x80;
                if let Some(last) = b.last_mut().filter(|_| at + 1 < length) {
                    *last ^= 0x40; // a later one does not count
                }
                let sign = if a[at] > b[at] { 1 } else { -1 };
                assert_eq!(compare(&b), sign, "{length} at {at}");
            }
        }
    }
}
