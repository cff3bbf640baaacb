//! Which kernels' mappings can be built: those of 6.1, and of older ones as far as their heads and layouts differ from it.

use crate::boot::Boot;
use crate::error::BootError;
use pagewright_firmware::Arch;
use pagewright_firmware::config::Refusal;
use pagewright_kspace::Version;

/// The oldest and the newest version whose mappings are built for an architecture. Newer arm64 kernels (6.2 and later) map
/// their image in other ways, older ones (before 5.0) fill `swapper_pg_dir` in the head already; of x86 only 6.1 is known.
pub const fn versions(arch: Arch) -> (Version, Version) {
    match arch {
        Arch::Arm64 => (Version::new(5, 0), Version::V6_1),
        Arch::Arm => (Version::new(4, 14), Version::V6_1),
        Arch::X86_64 | Arch::I386 => (Version::V6_1, Version::V6_1),
    }
}

impl Boot<'_> {
    /// The version of Linux whose mappings the kernel's are like. On arm64: where the linear map, the image and vmemmap lie, how the
    /// head maps, which memory types there are, what entries that lead to tables take away, when the crash kernel is reserved. On arm:
    /// how the image and the device tree are mapped. Before 5.13 CPUs keep lists of single pages only. Everything else stays 6.1's. To be called before [`Self::run`], which
    /// refuses versions that are not known ([`versions`]).
    pub fn set_version(&mut self, version: Version) {
        self.version = version;
    }

    /// Whether mappings of that version can be built for this kernel.
    ///
    /// # Errors
    /// [`BootError::Version`], and [`BootError::Config`] for 52-bit addresses where the kernel's half had none yet.
    pub(crate) fn check_version(&self) -> Result<(), BootError> {
        let (arch, version) = (self.machine.arch, self.version);
        let (oldest, newest) = versions(arch);
        if version < oldest || version > newest {
            return Err(BootError::Version { arch, version, oldest, newest });
        }
        if arch == Arch::Arm64 && self.machine.config.va_bits > 48 && !version.since(5, 4) {
            let (symbol, needs) = ("ARM64_VA_BITS_52", "Linux 5.4");
            return Err(BootError::Config(Refusal::Needs { symbol, needs }));
        }
        Ok(())
    }
}
