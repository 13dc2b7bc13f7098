//! `scenarios`: what there is, a line each.

use serde::Serialize;

use super::print::Printer;
use super::{Ending, Failure, Program};

#[derive(Serialize)]
struct Line {
    scenario: &'static str,
    about: &'static str,
}

pub(super) fn list(program: Program, mut printer: Printer) -> Result<Ending, Failure> {
    let width = program.scenarios.0.iter().map(|scenario| scenario.name().len()).max().unwrap_or(0);
    for scenario in program.scenarios.0 {
        let (name, about) = (scenario.name(), scenario.about());
        printer.text(format_args!("{name:width$}  {about}"))?;
        printer.object(&Line { scenario: name, about })?;
    }
    printer.flush()?;
    Ok(Ending::Held)
}
