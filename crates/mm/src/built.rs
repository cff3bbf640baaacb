//! Which architectures are built in: the package's features. Whoever boots one machine leaves the others out, and their code with them.

use pagewright_firmware::Arch;

/// What is built in, feature by feature.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Built {
    pub(crate) x86_64: bool,
    pub(crate) i386: bool,
    pub(crate) arm: bool,
    /// With pages of 4 KiB.
    pub(crate) arm64: bool,
    pub(crate) arm64_16k: bool,
    pub(crate) arm64_64k: bool,
}

impl Built {
    /// This build.
    pub(crate) const THIS: Self = Self {
        x86_64: cfg!(feature = "x86_64"),
        i386: cfg!(feature = "i386"),
        arm: cfg!(feature = "arm"),
        arm64: cfg!(feature = "arm64"),
        arm64_16k: cfg!(feature = "arm64-16k"),
        arm64_64k: cfg!(feature = "arm64-64k"),
    };

    /// Whether an architecture is.
    pub(crate) const fn has(self, arch: Arch) -> bool {
        match arch {
            Arch::X86_64 => self.x86_64,
            Arch::I386 => self.i386,
            Arch::Arm => self.arm,
            Arch::Arm64 => self.arm64,
        }
    }

    /// Whether arm64's tables with pages of this size are: the feature `arm64` has 4 KiB, `arm64-16k` and `arm64-64k` the others.
    pub(crate) const fn arm64_pages(self, page_shift: u32) -> bool {
        match page_shift {
            14 => self.arm64_16k,
            16 => self.arm64_64k,
            _ => self.arm64,
        }
    }

    /// Whether a kernel of this architecture and page size is.
    pub(crate) const fn has_pages(self, arch: Arch, page_shift: u32) -> bool {
        self.has(arch) && (!matches!(arch, Arch::Arm64) || self.arm64_pages(page_shift))
    }
}

/// Whether machines of this architecture can be booted and their page tables be walked: whether the feature of its name is on.
pub const fn has(arch: Arch) -> bool {
    Built::THIS.has(arch)
}

/// Constants, so that what is left out is left out by the compiler.
pub(crate) const X86_64: bool = has(Arch::X86_64);
pub(crate) const I386: bool = has(Arch::I386);
pub(crate) const X86: bool = X86_64 || I386;
pub(crate) const ARM: bool = has(Arch::Arm);
pub(crate) const ARM64: bool = has(Arch::Arm64);

/// Whether arm64's tables with pages of this size are built in.
pub(crate) const fn arm64_pages(page_shift: u32) -> bool {
    Built::THIS.arm64_pages(page_shift)
}
