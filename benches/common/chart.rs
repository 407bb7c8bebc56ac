//! Pictures of what was measured.

/// How every picture begins.
pub const HEAD: &str = r##"<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 960 420" font-family="sans-serif" font-size="13">
<style>.title { font-size: 15px; font-weight: bold } .end { text-anchor: end } .middle { text-anchor: middle }
.grid { stroke: #ddd } .axis { stroke: #444 }</style>
<rect width="960" height="420" fill="white"/>
"##;
