//! One folder for each architecture, and what they share although it is not the library's: the order of steps, and how
//! an image ends. `this` is the folder of the machine that the image is built for.

#[cfg(any(target_arch = "aarch64", target_arch = "arm"))]
mod arms;
mod end;
mod sequence;

#[cfg(target_arch = "arm")]
mod arm;
#[cfg(target_arch = "aarch64")]
mod arm64;
#[cfg(target_arch = "x86_64")]
mod x86_64;

#[cfg(target_arch = "arm")]
use arm as this;
#[cfg(target_arch = "aarch64")]
use arm64 as this;
#[cfg(target_arch = "x86_64")]
use x86_64 as this;
