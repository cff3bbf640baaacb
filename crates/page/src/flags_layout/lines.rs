//! The layout in the words of the kernel's log.

use super::PageFlagsLayout;
use core::fmt;

/// One line of the log.
///
/// `{}` prints it as dmesg does, `mminit::pageflags_layout_widths Section 0 ...`; [`Line::text`] leaves the
/// prefix away.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    layout: &'a PageFlagsLayout,
    kind: Kind,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Kind {
    Widths,
    Shifts,
    PgShifts,
    NodeZoneId,
    Usage,
    NodeElsewhere,
    CpupidElsewhere,
}

impl<'a> Line<'a> {
    pub(super) fn all(layout: &'a PageFlagsLayout) -> impl Iterator<Item = Self> {
        use Kind::*;
        [Widths, Shifts, PgShifts, NodeZoneId, Usage, NodeElsewhere, CpupidElsewhere]
            .into_iter()
            .filter(|kind| match kind {
                NodeElsewhere => layout.node_not_in_page_flags(),
                CpupidElsewhere => layout.last_cpupid_not_in_page_flags(),
                _ => true,
            })
            .map(move |kind| Self { layout, kind })
    }

    /// The word after `mminit::`, such as `pageflags_layout_widths`.
    pub fn name(&self) -> &'static str {
        match self.kind {
            Kind::Widths => "pageflags_layout_widths",
            Kind::Shifts => "pageflags_layout_shifts",
            Kind::PgShifts => "pageflags_layout_pgshifts",
            Kind::NodeZoneId => "pageflags_layout_nodezoneid",
            Kind::Usage => "pageflags_layout_usage",
            Kind::NodeElsewhere | Kind::CpupidElsewhere => "pageflags_layout_nodeflags",
        }
    }

    /// What follows the name.
    pub fn text(&self) -> impl fmt::Display + use<'a> {
        Text(*self)
    }
}

impl fmt::Display for Line<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "mminit::{} {}", self.name(), self.text())
    }
}

struct Text<'a>(Line<'a>);

impl fmt::Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let l = self.0.layout;
        match self.0.kind {
            Kind::Widths => write!(
                f,
                "Section {} Node {} Zone {} Lastcpupid {} Kasantag {} Gen {} Tier {} Flags {}",
                l.sections_width,
                l.nodes_width,
                l.zones_shift,
                l.last_cpupid_width,
                l.kasan_tag_width,
                l.lru_gen_width,
                l.lru_refs_width,
                l.nr_flags
            ),
            Kind::Shifts => write!(
                f,
                "Section {} Node {} Zone {} Lastcpupid {} Kasantag {}",
                l.sections_shift, l.nodes_shift, l.zones_shift, l.last_cpupid_shift, l.kasan_tag_width
            ),
            Kind::PgShifts => write!(
                f,
                "Section {} Node {} Zone {} Lastcpupid {} Kasantag {}",
                l.sections_pgshift(),
                l.nodes_pgshift(),
                l.zones_pgshift(),
                l.last_cpupid_pgshift(),
                l.kasan_tag_pgshift()
            ),
            Kind::NodeZoneId => {
                let (high, low) = l.zoneid_bits();
                write!(f, "Node/Zone ID: {high} -> {low}")
            }
            Kind::Usage => {
                // Linux subtracts the wanted last CPU/PID width even where the field found no room, and the
                // result is a signed number.
                let taken = l.sections_width
                    + l.nodes_width
                    + l.zones_shift
                    + l.last_cpupid_shift
                    + l.kasan_tag_width
                    + l.lru_gen_width
                    + l.lru_refs_width;
                let width = i64::from(l.bits) - i64::from(taken);
                let (bits, flags) = (l.bits, l.nr_flags);
                write!(
                    f,
                    "location: {bits} -> {width} layout {width} -> {flags} unused {flags} -> 0 page-flags"
                )
            }
            Kind::NodeElsewhere => f.write_str("Node not in page flags"),
            Kind::CpupidElsewhere => f.write_str("Last cpupid not in page flags"),
        }
    }
}
