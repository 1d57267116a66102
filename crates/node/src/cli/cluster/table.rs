//! Columns of text for a terminal.

/// On which side of its column a cell stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

/// The lines of a table: the titles, then the rows.
pub(super) fn lines(columns: &[(&str, Side)], rows: &[Vec<String>]) -> Vec<String> {
    let width = |(index, (title, _)): (usize, &(&str, Side))| {
        let cells = rows.iter().map(|row| row[index].chars().count());
        cells.chain([title.chars().count()]).max().unwrap_or(0)
    };
    let widths: Vec<usize> = columns.iter().enumerate().map(width).collect();
    let line = |cells: &mut dyn Iterator<Item = &str>| {
        let padded: Vec<String> = cells
            .zip(columns.iter().zip(&widths))
            .map(|(cell, ((_, side), width))| match side {
                Side::Left => format!("{cell:<width$}"),
                Side::Right => format!("{cell:>width$}"),
            })
            .collect();
        padded.join("  ").trim_end().to_owned()
    };
    let titles = line(&mut columns.iter().map(|(title, _)| *title));
    let rows = rows
        .iter()
        .map(|row| line(&mut row.iter().map(String::as_str)));
    std::iter::once(titles).chain(rows).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let columns = [
            ("node", Side::Left),
            ("keys", Side::Right),
            ("state", Side::Left),
        ];
        let rows = [
            vec!["a".into(), "12345".into(), "up".into()],
            vec!["bcdef".into(), "1".into(), String::new()],
        ];
        assert_eq!(
            lines(&columns, &rows),
            ["node    keys  state", "a      12345  up", "bcdef      1"]
        );
    }
}
