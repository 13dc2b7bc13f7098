//! A chart as one HTML file that needs nothing else: no network, no fonts, no scripts but its own.

use serde::Serialize;

use super::chart::Chart;
use super::gist::GistLine;
use super::timeline::{Departed, Moment, Timeline};
use super::waits::WaitGraph;

/// All that a page shows.
#[derive(Serialize)]
pub struct Page<'a> {
    /// Scenario, seed, verdict and size of the run.
    pub head: &'a str,
    /// The verdict in one word.
    pub verdict: &'a str,
    /// How the run ended.
    pub detail: &'a str,
    /// For a hang: why, in a sentence.
    pub cause: Option<&'a str>,
    /// What matters of what happened.
    pub gist: &'a [GistLine],
    /// The nearest run that passes, a line each.
    pub comparison: &'a [String],
    /// The step at which that run parts.
    pub parting: Option<Moment>,
    /// For a hang: who waits for what.
    #[serde(skip)]
    pub waits: Option<&'a WaitGraph>,
    /// The command that repeats the run.
    pub replay: &'a str,
    /// The case as TOML.
    pub case: &'a str,
}

const TEMPLATE: &str = include_str!("timeline.html");
/// Where the data goes in the template, and where the title.
const DATA: &str = "@DATA@";
const TITLE: &str = "@TITLE@";

/// Writes the page.
pub fn html(page: &Page<'_>, timeline: &Timeline, chart: &Chart) -> serde_json::Result<String> {
    #[derive(Serialize)]
    struct Data<'a> {
        page: &'a Page<'a>,
        chart: &'a Chart,
        chain: Vec<Link<'a>>,
        departures: Vec<(Moment, &'a str, &'a str)>,
        waits: Option<String>,
        end: Moment,
        left_out: u64,
    }
    let departed = |it: &Departed| (it.at, it.passed, it.ran);
    let departures = timeline.departures.iter().map(departed);
    let data = Data {
        page,
        chart,
        chain: page.waits.map(chain).unwrap_or_default(),
        departures: departures
            .map(|(at, passed, ran)| (at, timeline.who(passed), timeline.who(ran)))
            .collect(),
        waits: page.waits.map(ToString::to_string),
        end: timeline.end,
        left_out: timeline.left_out,
    };
    let (before, after) = TEMPLATE.split_once(DATA).unwrap_or((TEMPLATE, ""));
    let before = before.replace(TITLE, &text(page.head));
    Ok(before + &for_script(&serde_json::to_string(&data)?) + after)
}

/// A wait of the chain that explains a hang.
#[derive(Serialize)]
struct Link<'a> {
    who: &'a str,
    resource: &'a str,
    holders: Vec<&'a str>,
}

fn chain(waits: &WaitGraph) -> Vec<Link<'_>> {
    let chain = waits.chain().into_iter().map(|wait| Link {
        who: &wait.who,
        resource: &wait.resource,
        holders: wait.holders.iter().map(|(holder, _)| holder.as_str()).collect(),
    });
    chain.collect()
}

/// JSON that can stand in a script element: nothing in it ends the element or begins a comment.
fn for_script(json: &str) -> String {
    let mut safe = String::with_capacity(json.len());
    for letter in json.chars() {
        match letter {
            '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => safe += &format!("\\u{:04x}", letter as u32),
            letter => safe.push(letter),
        }
    }
    safe
}

/// Text as HTML.
fn text(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::trace::{BarKind, Mark, MarkKind};

    const HOSTILE: &str = "</script><script>alert(1)</script><!-- & \u{2028} @DATA@";

    fn page_of_hostile_texts() -> String {
        let gist = [];
        let page = Page {
            head: HOSTILE,
            verdict: "hung",
            detail: HOSTILE,
            cause: Some(HOSTILE),
            gist: &gist,
            comparison: &[HOSTILE.into()],
            parting: None,
            waits: None,
            replay: HOSTILE,
            case: HOSTILE,
        };
        let at = Moment::default();
        let mark = Mark {
            lane: 0,
            at,
            kind: MarkKind::Event,
            who: HOSTILE.into(),
            text: HOSTILE.into(),
            source: None,
        };
        let bar = crate::trace::Bar {
            lane: 0,
            row: 0,
            kind: BarKind::Call,
            text: HOSTILE.into(),
            who: HOSTILE.into(),
            source: None,
            awaited_by: None,
            from: at,
            to: at,
            open: false,
        };
        let lane = crate::trace::Lane { actor: HOSTILE.into(), name: HOSTILE.into(), rows: 1, own_rows: 1 };
        let chart = Chart { lanes: vec![lane], bars: vec![bar], marks: vec![mark] };
        html(&page, &Timeline::default(), &chart).unwrap()
    }

    #[test]
    fn hostile_texts_stay_texts() {
        let page = page_of_hostile_texts();
        assert!(!page.contains("<script>alert"), "a text became a script");
        // The data, and the page's own script.
        assert_eq!(page.matches("<script").count(), 2);
        assert_eq!(page.matches("</script>").count(), 2);
        let data =
            page.split_once("type=\"application/json\">").unwrap().1.split_once("</script>").unwrap().0;
        let data: serde_json::Value = serde_json::from_str(data).unwrap();
        assert_eq!(data["chart"]["marks"][0]["text"], HOSTILE);
        assert_eq!(data["page"]["case"], HOSTILE);
    }

    #[test]
    fn the_page_needs_nothing_else() {
        let page = page_of_hostile_texts();
        // Elements of SVG are made in the namespace of one that is there, so that not even its name looks like an address.
        for outside in
            ["http:", "https:", "//cdn", "src=", "<link", "@import", "url(", "fetch(", "XMLHttp", "import("]
        {
            assert!(!page.contains(outside), "the page refers to something outside: {outside}");
        }
        assert!(!TEMPLATE.contains("innerHTML"), "texts are set as text");
    }
}
