//! Schemas and pairs of schemas from a seed: everything that Avro has, with few names, so that names meet.

use schemas::proof::Random;
use serde_json::{Map, Value as Json, json};

const NAMES: [&str; 5] = ["A", "B", "C", "n.A", "n.m.B"];
const FIELDS: [&str; 5] = ["a", "b", "c", "d", "e"];
const SYMBOLS: [&str; 4] = ["W", "X", "Y", "Z"];
const PRIMITIVES: [&str; 8] = ["null", "boolean", "int", "long", "float", "double", "bytes", "string"];
const DEPTH_MAX: usize = 4;

/// A reader and a writer that come from one schema and differ in a few places, or come from two.
pub fn pair(random: &mut Random) -> (Json, Json) {
    let first = schema(random);
    if random.below(8) == 0 {
        return (first, schema(random));
    }
    let mut second = first.clone();
    for _ in 0..random.below(4) {
        second = mutated(&second, random);
    }
    if random.below(12) == 0 {
        spoil(&mut second, random);
    }
    (first, second)
}

/// Any schema; not always a valid one.
pub fn schema(random: &mut Random) -> Json {
    let mut drawing = Drawing { random, defined: vec![] };
    // Most real schemas are records.
    if drawing.random.below(4) > 0 { drawing.record(0) } else { drawing.ty(0) }
}

struct Drawing<'r> {
    random: &'r mut Random,
    /// Full names, with the word of their type.
    defined: Vec<String>,
}

impl Drawing<'_> {
    fn pick<T: Copy>(&mut self, from: &[T]) -> T {
        from[self.random.below(from.len())]
    }

    fn one_in(&mut self, n: usize) -> bool {
        self.random.below(n) == 0
    }

    fn ty(&mut self, depth: usize) -> Json {
        // A type may stand in an object of its own.
        if self.one_in(30) { json!({"type": self.plain_ty(depth)}) } else { self.plain_ty(depth) }
    }

    fn plain_ty(&mut self, depth: usize) -> Json {
        let deep = depth >= DEPTH_MAX;
        match self.random.below(if deep { 8 } else { 15 }) {
            0..=4 => self.pick(&PRIMITIVES).into(),
            5 => self.logical(),
            6 if !self.defined.is_empty() => self.reference(),
            6 | 7 => self.pick(&PRIMITIVES[2..]).into(),
            8 => json!({"type": "array", "items": self.ty(depth + 1)}),
            9 => json!({"type": "map", "values": self.ty(depth + 1)}),
            10 | 11 => self.union(depth),
            12 => self.enumeration(),
            13 => self.fixed(),
            _ => self.record(depth),
        }
    }

    fn logical(&mut self) -> Json {
        match self.random.below(5) {
            0 => json!({"type": "bytes", "logicalType": "decimal", "precision": 9, "scale": self.random.below(4)}),
            1 => json!({"type": "long", "logicalType": self.pick(&["timestamp-millis", "timestamp-micros", "uuid"])}),
            2 => json!({"type": "int", "logicalType": self.pick(&["date", "time-millis", "decimal"])}),
            3 => json!({"type": "string", "logicalType": "uuid"}),
            _ => json!({"type": self.pick(&PRIMITIVES)}),
        }
    }

    fn reference(&mut self) -> Json {
        let at = self.random.below(self.defined.len());
        let full = self.defined[at].trim_start_matches('.').to_owned();
        match full.rsplit_once('.') {
            Some((_, short)) if self.one_in(3) => short.into(),
            _ => full.into(),
        }
    }

    fn union(&mut self, depth: usize) -> Json {
        let mut branches: Vec<Json> = Vec::new();
        for _ in 0..=self.random.below(4) {
            let branch = self.ty(depth + 1);
            // A second branch of a kind is an error: try a few without.
            if !branch.is_array() && (self.one_in(12) || branches.iter().all(|b| word(b) != word(&branch))) {
                branches.push(branch);
            }
        }
        if self.one_in(2) && !branches.contains(&json!("null")) {
            branches.insert(self.random.below(branches.len() + 1), json!("null"));
        }
        branches.into()
    }

    fn named(&mut self, word: &str) -> Map<String, Json> {
        let mut name = self.pick(&NAMES);
        if self.one_in(60) {
            name = self.pick(&["n..A", ".A", ".n.A", "a-b.C", "n.1", "é.ß", "int", "n.int", ""]);
        }
        let mut object = Map::new();
        object.insert("type".into(), word.into());
        match name.rsplit_once('.') {
            Some((namespace, short)) if self.one_in(2) => {
                object.insert("name".into(), short.into());
                object.insert("namespace".into(), namespace.into());
            }
            _ => {
                object.insert("name".into(), name.into());
            }
        }
        if self.one_in(6) {
            let alias = self.pick(&NAMES);
            object.insert("aliases".into(), json!([alias]));
        }
        if self.one_in(40) {
            let odd = self.pick(&[".A", "n..A", "1", "", ".n.A", "a-b", "int", "n.int", "A "]);
            object.insert("aliases".into(), json!([odd, self.pick(&NAMES)]));
        }
        self.defined.push(name.to_owned());
        object
    }

    fn enumeration(&mut self) -> Json {
        let mut object = self.named("enum");
        let mut symbols: Vec<_> = SYMBOLS.iter().filter(|_| self.random.below(3) > 0).collect();
        if symbols.is_empty() || self.one_in(4) {
            symbols = SYMBOLS.iter().rev().collect();
        }
        if self.one_in(3) {
            let at = self.random.below(symbols.len());
            object.insert("default".into(), (*symbols[at]).into());
        }
        object.insert("symbols".into(), json!(symbols));
        object.into()
    }

    fn fixed(&mut self) -> Json {
        let mut object = self.named("fixed");
        let size = self.pick(&[1, 2, 4, 12, 16]);
        object.insert("size".into(), size.into());
        if self.one_in(4) {
            object.insert("logicalType".into(), self.pick(&["decimal", "duration", "uuid"]).into());
            object.insert("precision".into(), 2.into());
            object.insert("scale".into(), 1.into());
        }
        object.into()
    }

    fn record(&mut self, depth: usize) -> Json {
        let word = if self.one_in(40) { "error" } else { "record" };
        let mut object = self.named(word);
        let mut fields = Vec::new();
        for name in FIELDS {
            if self.one_in(2) {
                fields.push(self.field(name, depth));
            }
        }
        object.insert("fields".into(), fields.into());
        object.into()
    }

    fn field(&mut self, name: &str, depth: usize) -> Json {
        let ty = self.ty(depth + 1);
        let mut field = json!({"name": name, "type": ty});
        if self.one_in(3) {
            field["default"] = self.default(&ty, 0);
        }
        if self.one_in(6) {
            field["aliases"] = json!([self.pick(&FIELDS)]);
        }
        if self.one_in(40) {
            let (key, value) = self.pick(&[
                ("order", "ignore"),
                ("order", "UP"),
                ("aliases", "a"),
                ("name", "1"),
                ("name", "a.b"),
                ("default", "1.5"),
                ("doc", "x"),
            ]);
            field[key] = value.into();
        }
        field
    }

    /// A default that fits, mostly.
    fn default(&mut self, ty: &Json, depth: usize) -> Json {
        if self.one_in(25) || depth > 5 {
            return self.pick(&[0, 1, 2, 3]).into();
        }
        match ty {
            Json::Array(branches) if branches.is_empty() => Json::Null,
            Json::Array(branches) => {
                let at = if self.one_in(3) { self.random.below(branches.len()) } else { 0 };
                self.default(&branches[at], depth + 1)
            }
            Json::Object(object) if object["type"] == "array" => {
                (0..self.random.below(3)).map(|_| self.default(&object["items"], depth + 1)).collect()
            }
            Json::Object(object) if object["type"] == "map" => {
                let keys = ["k", "é\"", ""];
                keys[..self.random.below(4)]
                    .iter()
                    .map(|k| ((*k).to_owned(), self.default(&object["values"], depth + 1)))
                    .collect()
            }
            Json::Object(object) if object["type"] == "enum" => {
                if self.one_in(6) {
                    "Q".into()
                } else {
                    object["symbols"][0].clone()
                }
            }
            Json::Object(object) if object["type"] == "fixed" => {
                let size = object["size"].as_u64().unwrap_or(0) as usize + usize::from(self.one_in(10));
                "\u{e9}".repeat(size).into()
            }
            Json::Object(object) if object["type"] == "record" || object["type"] == "error" => {
                let mut value = Map::new();
                for field in object["fields"].as_array().into_iter().flatten() {
                    if field.get("default").is_none() || self.one_in(2) {
                        let one = self.default(&field["type"], depth + 1);
                        value.insert(field["name"].as_str().unwrap_or("?").to_owned(), one);
                    }
                }
                value.into()
            }
            Json::Object(object) => self.scalar(object["type"].as_str().unwrap_or("?")),
            other => self.scalar(other.as_str().unwrap_or("?")),
        }
    }

    fn scalar(&mut self, word: &str) -> Json {
        let text = match word {
            "null" => "null",
            "boolean" => self.pick(&["true", "false"]),
            "int" => self.pick(&["0", "-7", "2147483647"]),
            "long" => self.pick(&["5", "9223372036854775807", "-1"]),
            "float" => self.pick(&["1.1", "3", "-0.5"]),
            "double" => self.pick(&["1.1", "4", "1e300"]),
            "bytes" => self.pick(&["\"\"", "\"\\u0000\u{ff}\"", "\"abc\""]),
            "string" => self.pick(&["\"\"", "\"\u{e9}\\u0001\"", "\"abc\""]),
            _ => "{}",
        };
        serde_json::from_str(text).unwrap()
    }
}

fn word(branch: &Json) -> String {
    branch.as_str().or(branch["name"].as_str()).or(branch["type"].as_str()).unwrap_or("?").to_owned()
}

/// The schema with one change somewhere in it.
fn mutated(schema: &Json, random: &mut Random) -> Json {
    let mut places = vec![];
    find_types(schema, "", &mut places);
    let place = &places[random.below(places.len())];
    let mut changed = schema.clone();
    if let Some(ty) = changed.pointer_mut(place) {
        change(ty, random);
    }
    changed
}

/// JSON pointers to everything that stands where a type stands.
fn find_types(ty: &Json, at: &str, places: &mut Vec<String>) {
    places.push(at.to_owned());
    match ty {
        Json::Array(branches) => {
            branches.iter().enumerate().for_each(|(i, b)| find_types(b, &format!("{at}/{i}"), places));
        }
        Json::Object(object) => {
            for key in ["items", "values"] {
                object.get(key).into_iter().for_each(|inner| find_types(inner, &format!("{at}/{key}"), places));
            }
            let fields = object.get("fields").and_then(Json::as_array);
            for (i, field) in fields.into_iter().flatten().enumerate() {
                find_types(&field["type"], &format!("{at}/fields/{i}/type"), places);
            }
        }
        _ => {}
    }
}

fn change(ty: &mut Json, random: &mut Random) {
    let mut drawing = Drawing { random, defined: vec![] };
    if drawing.one_in(5) {
        return wrap(ty, &mut drawing);
    }
    match ty {
        Json::String(_) => *ty = drawing.pick(&PRIMITIVES).into(),
        Json::Array(branches) => union(branches, &mut drawing),
        Json::Object(object) if drawing.one_in(3) => rename(object, &mut drawing),
        Json::Object(object) => match object["type"].as_str().unwrap_or("") {
            "record" | "error" => record(object, &mut drawing),
            "enum" => enumeration(object, &mut drawing),
            "fixed" => {
                object.insert("size".into(), 3.into());
            }
            "array" | "map" => wrap(ty, &mut drawing),
            _ => {
                object.remove("logicalType");
            }
        },
        _ => {}
    }
}

fn wrap(ty: &mut Json, drawing: &mut Drawing<'_>) {
    let inner = ty.take();
    *ty = match (drawing.random.below(4), inner) {
        (0, inner) if !inner.is_array() => json!([inner, "null"]),
        (1, inner) if !inner.is_array() => json!(["null", inner]),
        (2, Json::Array(branches)) if !branches.is_empty() => branches[drawing.random.below(branches.len())].clone(),
        (3, _) => drawing.ty(DEPTH_MAX - 1),
        (_, inner) if !inner.is_array() => json!([inner]),
        (_, inner) => inner,
    };
}

fn union(branches: &mut Vec<Json>, drawing: &mut Drawing<'_>) {
    match drawing.random.below(4) {
        0 => branches.reverse(),
        1 if branches.len() > 1 => {
            let at = drawing.random.below(branches.len());
            branches.remove(at);
        }
        2 => branches.push(drawing.ty(DEPTH_MAX)),
        _ => {
            let n = branches.len();
            branches.rotate_left(n.min(1));
        }
    }
}

fn rename(object: &mut Map<String, Json>, drawing: &mut Drawing<'_>) {
    let Some(old) = object.get("name").cloned() else { return };
    match drawing.random.below(5) {
        0 => object.insert("aliases".into(), json!([old])),
        1 => object.insert("namespace".into(), drawing.pick(&["", "n", "n.m", "z"]).into()),
        2 => object.remove("namespace"),
        _ => None,
    };
    if drawing.one_in(2) {
        object.insert("name".into(), drawing.pick(&NAMES).into());
    }
}

fn record(object: &mut Map<String, Json>, drawing: &mut Drawing<'_>) {
    let Some(Json::Array(fields)) = object.get_mut("fields") else { return };
    let name = drawing.pick(&FIELDS);
    let at = drawing.random.below(fields.len());
    match (drawing.random.below(7), fields.is_empty()) {
        (0, _) | (_, true) => fields.insert(at, drawing.field(name, DEPTH_MAX - 1)),
        (1, _) => {
            fields.remove(at);
        }
        (2, _) => fields.reverse(),
        (3, _) => fields[at] = json!({"name": name, "type": fields[at]["type"], "aliases": [fields[at]["name"]]}),
        (4, _) => fields[at]["aliases"] = json!([name, drawing.pick(&FIELDS)]),
        (5, _) => {
            let ty = fields[at]["type"].clone();
            fields[at]["default"] = drawing.default(&ty, 0);
        }
        _ => fields[at] = json!({"name": fields[at]["name"], "type": fields[at]["type"]}),
    }
}

fn enumeration(object: &mut Map<String, Json>, drawing: &mut Drawing<'_>) {
    let Some(Json::Array(symbols)) = object.get_mut("symbols") else { return };
    match drawing.random.below(5) {
        0 => symbols.reverse(),
        1 => symbols.push(drawing.pick(&SYMBOLS).into()),
        2 if symbols.len() > 1 => {
            symbols.pop();
        }
        3 => {
            object.remove("default");
        }
        _ => {
            let first = symbols.first().cloned().unwrap_or_default();
            object.insert("default".into(), first);
        }
    }
}

/// One value somewhere in the schema is gone, is another, or is there twice.
fn spoil(schema: &mut Json, random: &mut Random) {
    let mut places = vec![];
    find_values(schema, "", &mut places);
    let place = &places[random.below(places.len())];
    let odd =
        [json!(null), json!(1), json!(-1), json!("A"), json!([]), json!({}), json!(true), json!("int"), json!("")];
    let value = odd[random.below(odd.len())].clone();
    let Some((outer, last)) = place.rsplit_once('/') else { return };
    match (schema.pointer_mut(outer), random.below(3)) {
        (Some(Json::Object(object)), 0) => {
            object.remove(last);
        }
        (Some(Json::Object(object)), _) => {
            object.insert(last.to_owned(), value);
        }
        (Some(Json::Array(list)), at) => {
            let first = list[random.below(list.len())].clone();
            list.push(if at == 0 { first } else { value });
        }
        _ => {}
    }
}

/// JSON pointers to every value.
fn find_values(json: &Json, at: &str, places: &mut Vec<String>) {
    places.push(at.to_owned());
    match json {
        Json::Array(list) => list.iter().enumerate().for_each(|(i, v)| find_values(v, &format!("{at}/{i}"), places)),
        Json::Object(object) => object.iter().for_each(|(key, v)| find_values(v, &format!("{at}/{key}"), places)),
        _ => {}
    }
}
