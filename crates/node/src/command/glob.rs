//! Glob patterns, exactly as Redis reads them: `*`, `?`, `[a-c]`, `[^a]`, and a backslash before
//! what is meant as it stands.

/// Whether the pattern matches the whole text.
///
/// Only the last star that was met is ever tried again, so the work is at most the product of both
/// lengths: no pattern makes it explode.
#[must_use]
pub fn matches(pattern: &[u8], text: &[u8]) -> bool {
    if text.is_empty() {
        // Redis does not look at the pattern then, stars included.
        return pattern.is_empty();
    }
    let (mut pattern, mut text) = (pattern, text);
    // The pattern behind the last star, and the text from which it is tried next.
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let [b'*', rest @ ..] = pattern {
            pattern = skip_stars(rest);
            if pattern.is_empty() {
                return true;
            }
            if text.is_empty() {
                return false;
            }
            retry = Some((pattern, text));
            continue;
        }
        let rest = match text.split_first() {
            None if pattern.is_empty() => return true,
            // A text that is too short for a star's rest is so for every later start as well.
            None => return false,
            Some((&byte, behind)) => one(pattern, byte).map(|rest| (rest, behind)),
        };
        (pattern, text) = match (rest, retry) {
            (Some((rest, behind)), _) => (rest, behind),
            (None, Some((after_star, [_, later @ ..]))) => {
                retry = Some((after_star, later));
                (after_star, later)
            }
            (None, _) => return false,
        };
    }
}

fn skip_stars(pattern: &[u8]) -> &[u8] {
    let stars = pattern.iter().take_while(|&&byte| byte == b'*').count();
    &pattern[stars..]
}

/// What follows the first element of the pattern, if that element matches the byte.
fn one(pattern: &[u8], byte: u8) -> Option<&[u8]> {
    match pattern {
        [] => None,
        [b'?', rest @ ..] => Some(rest),
        [b'[', b'^', class @ ..] => class_matches(class, byte, false),
        [b'[', class @ ..] => class_matches(class, byte, true),
        [b'\\', literal, rest @ ..] => (*literal == byte).then_some(rest),
        [literal, rest @ ..] => (*literal == byte).then_some(rest),
    }
}

/// What follows a class, if being a member of it is what is `wanted`. A class that is not closed
/// ends with the pattern.
fn class_matches(mut class: &[u8], byte: u8, wanted: bool) -> Option<&[u8]> {
    let mut member = false;
    loop {
        class = match class {
            [] => break,
            [b'\\', literal, rest @ ..] => {
                member |= *literal == byte;
                rest
            }
            [b']', rest @ ..] => {
                class = rest;
                break;
            }
            [from, b'-', to, rest @ ..] => {
                member |= (*from.min(to)..=*from.max(to)).contains(&byte);
                rest
            }
            [literal, rest @ ..] => {
                member |= *literal == byte;
                rest
            }
        };
    }
    (member == wanted).then_some(class)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_patterns_of_the_redis_documentation() {
        for (pattern, yes, no) in [
            ("h?llo", "hello", "hllo"),
            ("h*llo", "heeeello", "hell"),
            ("h[ae]llo", "hallo", "hillo"),
            ("h[^e]llo", "hallo", "hello"),
            ("h[a-b]llo", "hbllo", "hcllo"),
            ("h[b-a]llo", "hallo", "hcllo"),
            ("a\\*c", "a*c", "abc"),
            ("[\\]]", "]", "\\"),
            ("a*b*c", "a-b-b-c", "a-b-b-"),
            ("*abc", "ababc", "ababcd"),
            ("a*", "a", "ba"),
            ("a**", "a", ""),
            ("abc\\", "abc\\", "abc"),
            ("[abc", "b", "d"),
            ("[a-]", "]", "-"),
            ("[]x", "", "]x"),
            ("", "", "x"),
        ] {
            let found = matches(pattern.as_bytes(), yes.as_bytes());
            assert!(
                found || yes.is_empty() && !pattern.is_empty(),
                "{pattern} {yes}"
            );
            assert!(
                !matches(pattern.as_bytes(), no.as_bytes()),
                "{pattern} {no}"
            );
        }
    }

    #[test]
    fn many_stars_take_no_time() {
        let pattern = b"*a".repeat(5_000);
        let mut text = b"a".repeat(4_999);
        assert!(!matches(&pattern, &text));
        text.push(b'b');
        assert!(!matches(&pattern, &text));
        text.push(b'a');
        assert!(matches(&pattern, &text));
    }
}
