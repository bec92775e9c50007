//! Commands and replies as bytes.

/// The words of a command; `''` is an empty one, and `~` within a word stands for a blank.
pub(crate) fn words(line: &str) -> Vec<Vec<u8>> {
    let word = |word: &str| if word == "''" { Vec::new() } else { word.replace('~', " ").into_bytes() };
    line.split_whitespace().map(word).collect()
}

pub(crate) fn pack(words: &[Vec<u8>]) -> Vec<u8> {
    let mut packed = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        packed.extend(format!("${}\r\n", word.len()).bytes());
        packed.extend(word);
        packed.extend(b"\r\n");
    }
    packed
}

/// Where the first reply ends, if all of it is there.
pub(crate) fn end_of_reply(bytes: &[u8]) -> Option<usize> {
    let line = bytes.windows(2).position(|pair| pair == b"\r\n")? + 2;
    let number = || std::str::from_utf8(&bytes[1..line - 2]).unwrap().parse::<i64>().unwrap();
    let items = match bytes[0] {
        b'*' | b'>' | b'~' => usize::try_from(number()).unwrap_or(0),
        b'%' => 2 * usize::try_from(number()).unwrap_or(0),
        b'$' | b'=' => {
            let end = usize::try_from(number()).map_or(line, |length| line + length + 2);
            return (bytes.len() >= end).then_some(end);
        }
        _ => return Some(line),
    };
    let mut end = line;
    for _ in 0..items {
        end += end_of_reply(&bytes[end..])?;
    }
    Some(end)
}

/// How many replies these are.
pub(crate) fn count(mut bytes: &[u8]) -> usize {
    let mut count = 0;
    while let Some(end) = end_of_reply(bytes) {
        bytes = &bytes[end..];
        count += 1;
    }
    assert!(bytes.is_empty(), "part of a reply: {}", show(bytes));
    count
}

/// Clocks go on between one server and the other.
const TOLERANCE_MS: i64 = 2000;

/// What stands for the rest of a life; counters in the tests are less, or far more.
const LIVES_MS: std::ops::Range<i64> = 1_000..10_000_000;

/// Whether two servers answered the same, byte for byte except for how long keys still live, and connections' numbers.
pub(crate) fn is_alike(one: &[u8], other: &[u8]) -> bool {
    let lines = |bytes: &[u8]| bytes.split(|&byte| byte == b'\n').map(<[u8]>::to_vec).collect::<Vec<_>>();
    let (ones, others) = (lines(one), lines(other));
    let is_id = |index: usize| index > 0 && ones[index - 1] == b"id\r";
    ones.len() == others.len()
        && (0..ones.len()).all(|index| is_alike_line(&ones[index], &others[index]) || is_id(index))
}

fn is_alike_line(one: &[u8], other: &[u8]) -> bool {
    let life = |line: &[u8]| {
        let number = std::str::from_utf8(line.strip_prefix(b":")?.strip_suffix(b"\r")?).ok()?.parse().ok()?;
        LIVES_MS.contains(&number).then_some(number)
    };
    one == other || life(one).zip(life(other)).is_some_and(|(one, other)| (one - other).abs() <= TOLERANCE_MS)
}

pub(crate) fn show(bytes: &[u8]) -> String {
    bytes.escape_ascii().to_string()
}

/// The first reply for people: how long a key still lives is `~`.
pub(crate) fn tell(bytes: &[u8]) -> String {
    let Some(end) = bytes.windows(2).position(|pair| pair == b"\r\n") else { return show(bytes) };
    let (line, rest) = (String::from_utf8_lossy(&bytes[1..end]).into_owned(), &bytes[end + 2..]);
    match bytes[0] {
        b':' if line.parse().is_ok_and(|number: i64| LIVES_MS.contains(&number)) => "~".to_owned(),
        b'$' if line == "-1" => "nil".to_owned(),
        b'$' => String::from_utf8_lossy(&rest[..line.parse().unwrap_or(rest.len())]).into_owned(),
        b'*' => {
            let (mut items, mut rest) = (Vec::new(), rest);
            while let Some(end) = end_of_reply(rest) {
                items.push(tell(&rest[..end]));
                rest = &rest[end..];
            }
            format!("[{}]", items.join(", "))
        }
        _ => line,
    }
}
