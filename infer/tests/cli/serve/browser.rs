//! The page in a browser: a picture is dropped, compared, changed and downloaded.

use super::cdp::Page;
use super::client::{Served, png};
use crate::studio::photo;

/// The page of a server; `None` without a browser.
fn page(served: &Served, query: &str) -> Option<Page> {
    Page::open(&format!("http://{}/{query}", served.address), "fps=30")
}

#[test]
fn a_picture_is_dropped_painted_and_compared() {
    let served = Served::new();
    let Some(mut page) = page(&served, "") else { return };
    // The sample is painted without a request by the user.
    page.wait_for("document.body.dataset.painted === 'tiny'");
    assert_eq!(page.number("document.getElementById('after').naturalWidth"), 640);
    page.screenshot("sample.png");

    page.drop_file("dropped.png", "image/png", &png(300, 200));
    page.wait_for(
        "document.getElementById('status').textContent.startsWith('dropped.png: 300 × 200 pixels, painted in')",
    );
    assert_eq!(page.number("document.getElementById('before').naturalWidth"), 300);
    assert_eq!(page.evaluate("document.getElementById('alert').hidden"), true);

    // The mouse and the keys move the divider, and both update its value for screen readers.
    let (x, y) = page.middle_of("#compare");
    page.drag((x, y), (x - 200.0, y));
    let split = page.number("Number(document.getElementById('split').value)");
    assert!(split < 45, "{split}");
    assert_eq!(page.text("document.activeElement.id"), "split");
    page.press("ArrowRight");
    assert_eq!(page.number("Number(document.getElementById('split').value)"), split + 1);
    let spoken = page.text("document.getElementById('split').getAttribute('aria-valuetext')");
    assert_eq!(spoken, format!("{} % photo, {} % painting", split + 1, 99 - split));
    let clip = page.text("getComputedStyle(document.querySelector('.after.picture-only')).clipPath");
    assert!(clip.contains(&format!("{}%", split + 1)), "{clip}");
    page.screenshot("dropped.png");
    assert_eq!(page.console, Vec::<String>::new());
}

#[test]
fn strength_and_colours_change_what_is_seen_and_downloaded() {
    let served = Served::new();
    let Some(mut page) = page(&served, "?strength=0.5") else { return };
    page.wait_for("document.body.dataset.painted === 'tiny'");
    // The page blends the painting with the photo as the server does, so no request is needed.
    assert_eq!(page.text("document.getElementById('after').style.opacity"), "0.5");
    page.evaluate("document.getElementById('strength').focus()");
    page.press("ArrowRight");
    assert_eq!(page.text("document.getElementById('after').style.opacity"), "0.51");
    assert_eq!(page.text("document.getElementById('strength-value').textContent"), "51 %");
    page.evaluate(
        "{ const own = window.fetch; window.asked = []; \
         window.fetch = (url, ...rest) => { window.asked.push(String(url)); return own(url, ...rest); }; }",
    );
    page.click(".switch");
    page.wait_for("window.asked.some((url) => url.includes('keep_colors=true'))");
    page.wait_for("document.body.dataset.painted === 'tiny'");
    let bundled = impasto_common::styles::BUNDLED[0].name;
    page.click(&format!("input[value=\"{bundled}\"]"));
    page.wait_for(&format!("document.body.dataset.painted === '{bundled}'"));
    // The download is requested with all options, in full size.
    page.evaluate("HTMLAnchorElement.prototype.click = function () { window.saved = [this.download, this.href]; }");
    page.click("#download");
    page.wait_for("window.saved");
    assert_eq!(page.text("window.saved[0]"), format!("sample-{bundled}.jpg"));
    let asked = page.text("window.asked.at(-1)");
    for part in ["strength=0.51", "keep_colors=true", &format!("style={bundled}")] {
        assert!(asked.contains(part), "{asked}");
    }
    assert!(!asked.contains("max_size"), "{asked}");
    let width =
        "const image = new Image(); image.src = window.saved[1]; await image.decode(); return image.naturalWidth;";
    assert_eq!(page.number(&format!("(async () => {{ {width} }})()")), 640);
    assert_eq!(page.console, Vec::<String>::new());
}

#[test]
fn a_file_that_is_not_a_picture_gets_an_explanation() {
    let served = Served::new();
    let Some(mut page) = page(&served, "") else { return };
    page.wait_for("document.body.dataset.painted === 'tiny'");
    page.drop_file("text.jpg", "image/jpeg", b"this is no picture");
    page.wait_for("!document.getElementById('alert').hidden");
    let alert = page.text("document.getElementById('alert').innerText");
    assert!(alert.contains("The file is not a picture."), "{alert}");
    page.screenshot("alert.png");
    // A format that browsers cannot show is converted by the server.
    served.studio.save("photo.tiff", photo(80, 60));
    let path = served.studio.path("photo.tiff");
    page.choose_file(path.to_str().unwrap());
    page.wait_for("document.getElementById('status').textContent.startsWith('photo.tiff: 80 × 60')");
    assert_eq!(page.number("document.getElementById('before').naturalWidth"), 80);
    assert_eq!(page.evaluate("document.getElementById('alert').hidden"), true);
}

#[test]
fn everything_that_can_be_used_has_a_name() {
    let served = Served::new();
    let Some(mut page) = page(&served, "") else { return };
    for mode in ["picture", "camera"] {
        page.click(&format!("#mode-{mode}"));
        let tree = page.call("Accessibility.getFullAXTree", serde_json::json!({}));
        let roles = ["button", "slider", "radio", "switch", "combobox", "checkbox", "textbox", "image"];
        let mut used = 0;
        for node in tree["nodes"].as_array().unwrap() {
            let role = node["role"]["value"].as_str().unwrap_or_default();
            if node["ignored"] == true || !roles.contains(&role) {
                continue;
            }
            let name = node["name"]["value"].as_str().unwrap_or_default();
            assert!(!name.trim().is_empty(), "{mode}: a {role} has no name: {node}");
            used += 1;
        }
        assert!(used >= 8, "{mode}: only {used} nodes were found: the reader is broken");
        // Each can be reached with the Tab key alone.
        let reachable =
            "[...document.querySelectorAll('button, input, select, a')].every((element) => element.tabIndex === 0)";
        assert_eq!(page.evaluate(reachable), true);
    }
}
