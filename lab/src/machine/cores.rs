//! Which kernel a device tree's processors run: their `compatible` tells 32-bit cores from 64-bit ones.

use pagewright_firmware::config::Flavour;
use pagewright_firmware::devicetree::DeviceTree;

/// 32-bit cores, by the beginning of their `compatible`.
const CORES_32: [&str; 17] = [
    "arm,cortex-a5",
    "arm,cortex-a7",
    "arm,cortex-a8",
    "arm,cortex-a9",
    "arm,cortex-a12",
    "arm,cortex-a15",
    "arm,cortex-a17",
    "arm,arm11",
    "arm,arm9",
    "arm,armv7",
    "qcom,krait",
    "qcom,scorpion",
    "marvell,pj4",
    "marvell,sheeva",
    "marvell,mmp",
    "brcm,brahma-b15",
    "faraday,",
];

/// The kernel for the tree's processors: one 32-bit core is enough for a 32-bit kernel.
pub fn flavour_of(tree: &DeviceTree<'_>) -> Flavour {
    let cpus = tree.root().child_exact("cpus");
    let mut cores = cpus.into_iter().flat_map(|c| c.children()).filter_map(|c| c.property("compatible"));
    // Cortex-A53 begins like Cortex-A5 and is another core: the name must end there.
    let narrow = |core: &[u8]| {
        CORES_32.iter().any(|c| {
            let rest = core.strip_prefix(c.as_bytes());
            rest.is_some_and(|r| {
                !c.ends_with(|d: char| d.is_ascii_digit()) || !r.first().is_some_and(u8::is_ascii_digit)
            })
        }) || core.starts_with(b"arm,arm1")
            || core.starts_with(b"arm,arm9")
    };
    if cores.any(|p| p.strings().any(narrow)) { Flavour::Armmp } else { Flavour::Arm64 }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::machine::dts;

    #[test]
    fn the_width_of_a_trees_processors_is_known_by_name() {
        for (core, flavour) in [
            ("arm,cortex-a53", Flavour::Arm64),
            ("arm,cortex-a5", Flavour::Armmp),
            ("arm,cortex-a72", Flavour::Arm64),
            ("arm,cortex-a7", Flavour::Armmp),
            ("qcom,krait", Flavour::Armmp),
            ("arm,arm1176jzf-s", Flavour::Armmp),
            ("apple,icestorm", Flavour::Arm64),
        ] {
            let source = format!("/ {{ cpus {{ cpu@0 {{ compatible = \"{core}\"; }}; }}; }};");
            let dtb = dts::compile(&source, 1).unwrap();
            assert_eq!(flavour_of(&DeviceTree::parse(&dtb).unwrap()), flavour, "{core}");
        }
    }
}
