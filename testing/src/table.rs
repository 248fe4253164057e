//! Rows of text under each other.

/// Columns of given widths; the last one runs free.
#[derive(Clone, Debug)]
pub struct Table {
    widths: Vec<usize>,
}

impl Table {
    /// A table of columns of these widths; rows may have one column more.
    #[must_use]
    pub fn new(widths: &[usize]) -> Self {
        Self {
            widths: widths.to_vec(),
        }
    }

    /// One line: the first column flush left, the others flush right, the free one as it is.
    #[must_use]
    pub fn row<S: AsRef<str>>(&self, cells: &[S]) -> String {
        let mut line = String::new();
        for (i, cell) in cells.iter().map(AsRef::as_ref).enumerate() {
            if i > 0 {
                line.push_str("  ");
            }
            match self.widths.get(i) {
                Some(width) if i == 0 => line.push_str(&format!("{cell:<width$}")),
                Some(width) => line.push_str(&format!("{cell:>width$}")),
                None => line.push_str(cell),
            }
        }
        line.trim_end().to_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let table = Table::new(&[4, 3]);
        assert_eq!(table.row(&["ab", "1", "words"]), "ab      1  words");
        assert_eq!(table.row(&["abcd", "100", ""]), "abcd  100");
    }
}
