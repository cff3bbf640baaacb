//! One folder for each architecture: head code, exceptions, console, processors. The only place with `cfg(target_arch)`.

#[cfg(target_arch = "arm")]
mod arm;
#[cfg(target_arch = "aarch64")]
mod arm64;
#[cfg(target_arch = "x86_64")]
mod x86_64;
