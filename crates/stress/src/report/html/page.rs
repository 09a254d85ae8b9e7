//! Markup that can't be broken by what is in it: tags are constants, all else is escaped.

use std::fmt::Write;

use crate::verdict::Verdict;

/// A page in the making.
#[derive(Debug, Default)]
pub(super) struct Page(String);

/// What a cell of a table holds.
#[derive(Debug)]
pub(super) enum Cell {
    Text(String),
    /// Aligned to the right.
    Number(String),
    Code(String),
    /// A tick or a cross, with a word for those who don't see it.
    Held(bool),
    Verdict(Verdict),
    /// The address within the page, and the text.
    Link(String, String),
    /// A measured value beside its bound.
    Bullet(Bullet),
    /// An interval on a scale with a line that matters.
    Interval(Interval),
}

/// A bar that ends at the measured value, and a tick at the bound; in shares of the bar's room.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Bullet {
    pub(super) value: f64,
    pub(super) bound: f64,
    pub(super) held: bool,
}

/// In shares of the room, from 0 to 1.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Interval {
    pub(super) low: f64,
    pub(super) at: f64,
    pub(super) high: f64,
    /// What it is held against.
    pub(super) reference: f64,
    /// Where it turns bad, if that is another place.
    pub(super) limit: Option<f64>,
    pub(super) held: bool,
}

impl Page {
    /// Markup: only constants get in.
    pub(super) fn raw(&mut self, markup: &'static str) -> &mut Self {
        self.0.push_str(markup);
        self
    }

    /// Text that may hold anything.
    pub(super) fn text(&mut self, text: &str) -> &mut Self {
        for character in text.chars() {
            match character {
                '&' => self.0.push_str("&amp;"),
                '<' => self.0.push_str("&lt;"),
                '>' => self.0.push_str("&gt;"),
                '"' => self.0.push_str("&quot;"),
                '\'' => self.0.push_str("&#39;"),
                // HTML knows no other control characters, and a NUL ends the text in some readers.
                control if control.is_control() && !matches!(control, '\n' | '\t') => self.0.push('\u{fffd}'),
                plain => self.0.push(plain),
            }
        }
        self
    }

    /// ` name="value"`, within a tag.
    pub(super) fn attribute(&mut self, name: &'static str, value: &str) -> &mut Self {
        self.raw(" ").raw(name).raw("=\"").text(value).raw("\"")
    }

    /// `<tag>text</tag>`.
    pub(super) fn element(&mut self, tag: &'static str, text: &str) -> &mut Self {
        self.raw("<").raw(tag).raw(">").text(text).raw("</").raw(tag).raw(">")
    }

    /// `<tag class="…">text</tag>`.
    pub(super) fn classed(&mut self, tag: &'static str, class: &'static str, text: &str) -> &mut Self {
        self.raw("<").raw(tag).attribute("class", class).raw(">").text(text).raw("</").raw(tag).raw(">")
    }

    /// Data for the script. In JSON a `<` is only ever in a string, where it may be written as an escape; so nothing in
    /// it can end the element.
    pub(super) fn json(&mut self, id: &'static str, json: &str) -> &mut Self {
        self.raw("<script type=\"application/json\"").attribute("id", id).raw(">");
        for character in json.chars() {
            match character {
                '<' | '>' | '&' | '\u{2028}' | '\u{2029}' => {
                    // Panics: never; a string takes all.
                    write!(self.0, "\\u{:04x}", u32::from(character)).expect("a string can be written to");
                }
                plain => self.0.push(plain),
            }
        }
        self.raw("</script>\n")
    }

    pub(super) fn verdict(&mut self, verdict: Verdict) -> &mut Self {
        self.raw("<span")
            .attribute("class", class(verdict))
            .raw(">")
            .text(&verdict.to_string())
            .raw("</span>")
    }

    /// A table of its own class; `headings` are told `numeric` by a leading `#`.
    pub(super) fn table(
        &mut self,
        kind: &'static str,
        caption: &str,
        headings: &[&'static str],
        rows: impl IntoIterator<Item = Vec<Cell>>,
    ) -> &mut Self {
        self.raw("<div class=\"scroll\"><table").attribute("class", kind).raw("><caption>").text(caption);
        self.raw("</caption><thead><tr>");
        for heading in headings {
            match heading.strip_prefix('#') {
                Some(numeric) => self.raw("<th scope=col class=n>").raw(numeric),
                None => self.raw("<th scope=col>").raw(heading),
            };
        }
        self.raw("<tbody>\n");
        for row in rows {
            self.raw("<tr>");
            for (place, cell) in row.into_iter().enumerate() {
                self.cell(cell, place == 0);
            }
            // End tags that HTML does without are left out: of many scenarios they are a tenth of the page.
            self.raw("\n");
        }
        self.raw("</table></div>\n")
    }

    fn cell(&mut self, cell: Cell, is_heading: bool) {
        let numeric = matches!(cell, Cell::Number(_));
        match (is_heading, numeric) {
            (true, true) => self.raw("<th scope=row class=n>"),
            (true, false) => self.raw("<th scope=row>"),
            (false, true) => self.raw("<td class=n>"),
            (false, false) => self.raw("<td>"),
        };
        match cell {
            Cell::Text(text) | Cell::Number(text) => self.text(&text),
            Cell::Code(text) => self.element("code", &text),
            Cell::Held(held) => self.held(held),
            Cell::Verdict(verdict) => self.verdict(verdict),
            Cell::Link(address, text) => {
                self.raw("<a").attribute("href", &format!("#{address}")).raw(">").text(&text).raw("</a>")
            }
            Cell::Bullet(bullet) => self.bullet(bullet),
            Cell::Interval(interval) => self.interval(interval),
        };
    }

    fn held(&mut self, held: bool) -> &mut Self {
        if held {
            self.raw("<span class=\"mark pass\" role=\"img\" aria-label=\"holds\">✓</span>")
        } else {
            self.raw("<span class=\"mark fail\" role=\"img\" aria-label=\"does not hold\">✗</span>")
        }
    }

    fn bullet(&mut self, Bullet { value, bound, held }: Bullet) -> &mut Self {
        self.raw(if held { "<span class=\"bullet\"" } else { "<span class=\"bullet bad\"" });
        self.raw(" aria-hidden=\"true\"><i").style("width", value).raw("></i><b").style("left", bound);
        self.raw("></b></span>")
    }

    fn interval(&mut self, interval: Interval) -> &mut Self {
        let Interval { low, at, high, reference, limit, held } = interval;
        self.raw(if held { "<span class=\"interval\"" } else { "<span class=\"interval bad\"" });
        self.raw(" aria-hidden=\"true\"><s").style("left", reference).raw("></s>");
        if let Some(limit) = limit {
            self.raw("<u").style("left", limit).raw("></u>");
        }
        let (low_percent, width) = (percent(low), percent(high - low));
        self.raw("<i").attribute("style", &format!("left:{low_percent};width:{width}")).raw("></i><b");
        self.style("left", at).raw("></b></span>")
    }

    /// ` style="name:share"`.
    pub(super) fn style(&mut self, name: &'static str, share: f64) -> &mut Self {
        self.attribute("style", &format!("{name}:{}", percent(share)))
    }

    pub(super) fn into_string(self) -> String {
        self.0
    }
}

/// Within the room, whatever the figures are.
fn percent(share: f64) -> String {
    let share = if share.is_finite() { share.clamp(0.0, 1.0) } else { 0.0 };
    format!("{:.1}%", share * 100.0)
}

fn class(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Pass => "chip pass",
        Verdict::Invalid => "chip invalid",
        Verdict::Fail => "chip fail",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_a_text_is_markup() {
        let mut page = Page::default();
        page.raw("<p").attribute("title", "\"><script>").raw(">").text("a & b </p>'\u{0}").raw("</p>");
        assert_eq!(
            page.into_string(),
            "<p title=\"&quot;&gt;&lt;script&gt;\">a &amp; b &lt;/p&gt;&#39;\u{fffd}</p>"
        );
    }

    #[test]
    fn data_cannot_end_its_element_and_stays_the_same() {
        let told = "</script><!-- & \u{2028} \" \\";
        let mut page = Page::default();
        page.json("data", &serde_json::to_string(told).unwrap());
        let text = page.into_string();
        assert_eq!(text.matches('<').count(), 2, "{text}");
        let json = text.split('>').nth(1).unwrap().trim_end_matches("</script");
        assert_eq!(serde_json::from_str::<String>(json).unwrap(), told);
    }

    #[test]
    fn bars_stay_in_their_room() {
        for (share, text) in [(0.5, "50.0%"), (7.0, "100.0%"), (-1.0, "0.0%"), (f64::NAN, "0.0%")] {
            assert_eq!(percent(share), text);
        }
    }
}
