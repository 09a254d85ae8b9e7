//! A plain text table for the closing summaries.

/// Lines up `rows` under `head`, two blanks between the columns. Widths count characters.
pub(crate) fn render<const N: usize>(head: [&str; N], rows: &[[String; N]]) -> String {
    let head = head.map(str::to_owned);
    let lines = || std::iter::once(&head).chain(rows);
    let widths: [usize; N] =
        std::array::from_fn(|column| lines().map(|line| line[column].chars().count()).max().unwrap_or(0));
    let mut text = String::new();
    for line in lines() {
        let mut rendered = String::new();
        for (cell, width) in line.iter().zip(widths) {
            rendered.push_str(&format!("{cell:<width$}  "));
        }
        text.push_str(rendered.trim_end());
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_line_up_by_characters() {
        let text = render(["bug", "", "seconds"], &[["torn".into(), "✓".into(), "1.0".into()]]);
        assert_eq!(text, "bug      seconds\ntorn  ✓  1.0\n");
    }
}
