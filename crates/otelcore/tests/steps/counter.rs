//! The count of steps: basic blocks that this thread has run, and every 16 bytes that it has copied, set or compared.
//!
//! `scripts/steps` builds every crate with the compiler's coverage pass, which calls `__sanitizer_cov_trace_pc` in each
//! basic block. The copies are calls of the C functions, which the pass does not instrument. So each computation of
//! each component is counted without code in the component, and equal runs give equal counts. The counter is written in
//! assembler because a Rust function would be counted itself. Other builds count nothing.

#[cfg(count_steps)]
std::arch::global_asm!(
    r#"
    .section .tbss,"awT",@nobits
    .p2align 3
otelcore_steps_cell:
    .zero 8

    .text
    .globl __sanitizer_cov_trace_pc
__sanitizer_cov_trace_pc:
    inc qword ptr fs:[otelcore_steps_cell@tpoff]
    ret

    .globl otelcore_steps
otelcore_steps:
    mov rax, qword ptr fs:[otelcore_steps_cell@tpoff]
    ret

    .globl memcpy
memcpy:
    mov rax, rdi
    mov rcx, rdx
    shr rdx, 4
    add qword ptr fs:[otelcore_steps_cell@tpoff], rdx
    rep movsb
    ret

    .globl memmove
memmove:
    mov rax, rdi
    mov rcx, rdx
    shr rdx, 4
    add qword ptr fs:[otelcore_steps_cell@tpoff], rdx
    mov rdx, rdi
    sub rdx, rsi
    cmp rdx, rcx
    jb 2f
    rep movsb
    ret
2:
    lea rsi, [rsi + rcx - 1]
    lea rdi, [rdi + rcx - 1]
    std
    rep movsb
    cld
    ret

    .globl memset
memset:
    mov r8, rdi
    mov rcx, rdx
    shr rdx, 4
    add qword ptr fs:[otelcore_steps_cell@tpoff], rdx
    mov eax, esi
    rep stosb
    mov rax, r8
    ret

    .globl bcmp
    .globl memcmp
bcmp:
memcmp:
    mov rcx, rdx
    shr rdx, 4
    add qword ptr fs:[otelcore_steps_cell@tpoff], rdx
    xor eax, eax
    xor edx, edx
    cmp rcx, rcx
    repe cmpsb
    je 3f
    movzx eax, byte ptr [rdi - 1]
    movzx edx, byte ptr [rsi - 1]
    xchg eax, edx
    sub eax, edx
3:
    ret
"#
);

#[cfg(count_steps)]
unsafe extern "C" {
    safe fn otelcore_steps() -> u64;
}

/// Steps of this thread so far.
#[cfg(count_steps)]
pub(crate) fn steps() -> u64 {
    otelcore_steps()
}

#[cfg(not(count_steps))]
pub(crate) fn steps() -> u64 {
    0
}
