//! Huge pages.

use super::{Outcome, Reader};
use crate::cmdline::diagnostics::DiagnosticKind;
use crate::cmdline::token::Param;
use crate::cmdline::{HugePagesSpec, HugetlbParam, ThpParam, memparse, parse_bool};

impl<'a> Reader<'a, '_> {
    pub(super) fn read_huge(&mut self, name: &str, param: &Param<'a>) -> Outcome {
        let Some(value) = param.value else { return Outcome::NotRead };
        let item = match name {
            "hugepages" => HugetlbParam::Hugepages(HugePagesSpec { text: value }),
            "hugepagesz" => HugetlbParam::HugepageSize(memparse(value).0),
            "default_hugepagesz" => HugetlbParam::DefaultSize(memparse(value).0),
            "hugetlb_cma" => {
                self.params.hugetlb_cma = Some(value);
                return Outcome::Taken;
            }
            "hugetlb_free_vmemmap" => {
                self.params.hugetlb_free_vmemmap = parse_bool(value);
                if self.params.hugetlb_free_vmemmap.is_none() {
                    self.report(param, DiagnosticKind::Ignored);
                }
                return Outcome::Taken;
            }
            "transparent_hugepage" => {
                self.params.transparent_hugepage = Some(match value {
                    "always" => ThpParam::Always,
                    "madvise" => ThpParam::Madvise,
                    "never" => ThpParam::Never,
                    _ => {
                        self.report(param, DiagnosticKind::TransparentHugepage);
                        return Outcome::Refused;
                    }
                });
                return Outcome::Taken;
            }
            _ => return Outcome::NotRead,
        };
        if self.params.hugetlb.try_push(item).is_err() {
            self.report(param, DiagnosticKind::TooMany);
        }
        Outcome::Taken
    }
}
