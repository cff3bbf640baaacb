//! From what a capture says to the machine that was booted: inputs only, never what the kernel made of them.
