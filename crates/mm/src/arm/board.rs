//! What the kernel's machine descriptions (DT_MACHINE_START) ask of memory set-up.
//!
//! A multi-platform kernel picks its description by the root node's `compatible`. Most ask nothing of memory; those
//! that limit DMA or map device registers before there is `ioremap` are listed here, as far as the configurations that
//! are modelled build them. A mapping takes memory for its descriptor and perhaps for a page table, so that it shifts
//! what is allocated after it. What is not listed boots as "Generic DT based system".

use pagewright_firmware::config::KernelConfig;

/// What a board's description asks for.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Board {
    /// `dma_zone_size`: DMA reaches this many bytes from PHYS_OFFSET on.
    pub dma_zone_size: Option<u64>,
    /// `map_io`: device registers mapped from the start, one slice for each call of `iotable_init`.
    pub static_maps: &'static [&'static [StaticMap]],
}

/// A fixed mapping of device registers (`struct map_desc`, MT_DEVICE).
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct StaticMap {
    /// Virtual address.
    pub virt: u32,
    /// Physical address.
    pub phys: u32,
    /// Bytes.
    pub len: u32,
}

const KIB: u32 = 1 << 10;
const MIB: u32 = 1 << 20;
const GIB: u64 = 1 << 30;

/// The snoop control unit, at the virtual address that its place in the SoC's map gives it.
const SCU_IMX6: &[&[StaticMap]] = &[&[StaticMap { virt: 0xf400_0000, phys: 0x00a0_0000, len: 4 * KIB }]];
/// The chip's identification; its length is one less than the registers', as they stand in the tree.
const EXYNOS: &[&[StaticMap]] = &[&[StaticMap { virt: 0xf800_0000, phys: 0x1000_0000, len: 255 }]];
/// Peripheral buses, the processor's private registers and internal RAM.
const TEGRA: &[&[StaticMap]] = &[&[
    StaticMap { virt: 0xfe20_0000, phys: 0x6000_0000, len: MIB },
    StaticMap { virt: 0xfe00_0000, phys: 0x7000_0000, len: MIB },
    StaticMap { virt: 0xfe44_0000, phys: 0x5004_0000, len: 16 * KIB },
    StaticMap { virt: 0xfe40_0000, phys: 0x4000_0000, len: 256 * KIB },
]];

/// A description with the root compatibles that select it.
struct Entry {
    compatible: &'static [&'static str],
    /// Only with LPAE.
    lpae: bool,
    board: Board,
}

const fn dma(size: u64) -> Board {
    Board { dma_zone_size: Some(size), static_maps: &[] }
}

const fn io(static_maps: &'static [&'static [StaticMap]]) -> Board {
    Board { dma_zone_size: None, static_maps }
}

const BOARDS: &[Entry] = &[
    Entry { compatible: &["fsl,imx6dl", "fsl,imx6q", "fsl,imx6qp"], lpae: false, board: io(SCU_IMX6) },
    Entry {
        compatible: &["brcm,bcm2835", "brcm,bcm2836", "brcm,bcm2837", "brcm,bcm2711"],
        lpae: false,
        board: dma(GIB),
    },
    Entry { compatible: &["calxeda,highbank", "calxeda,ecx-2000"], lpae: true, board: dma(4 * GIB) },
    Entry {
        compatible: &["ti,omap5", "ti,omap5430", "ti,omap5432", "ti,dra7", "ti,dra7xx"],
        lpae: true,
        board: dma(2 * GIB),
    },
    Entry {
        compatible: &[
            "samsung,exynos3",
            "samsung,exynos3250",
            "samsung,exynos4",
            "samsung,exynos4210",
            "samsung,exynos4212",
            "samsung,exynos4412",
            "samsung,exynos5",
            "samsung,exynos5250",
            "samsung,exynos5260",
            "samsung,exynos5420",
        ],
        lpae: false,
        board: io(EXYNOS),
    },
    Entry {
        compatible: &["nvidia,tegra20", "nvidia,tegra30", "nvidia,tegra114", "nvidia,tegra124"],
        lpae: false,
        board: io(TEGRA),
    },
];

impl Board {
    /// The board that a root node with these `compatible` strings describes, most specific first.
    pub fn of<'t>(mut compatible: impl Iterator<Item = &'t str>, config: &KernelConfig) -> Self {
        let find =
            |name: &str| BOARDS.iter().find(|e| e.compatible.contains(&name) && (config.lpae || !e.lpae));
        compatible.find_map(find).map_or(Self::default(), |e| e.board)
    }
}
