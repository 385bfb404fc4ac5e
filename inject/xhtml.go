package inject

// locateXHTML finds the place in an XML document.
func locateXHTML(v *view) finding { return finding{reason: XHTMLNoHead} }
