package slacksim

import (
	"fmt"
	"maps"
	"slices"
)

// A check looksField at a part of a block, and reports what is wrong with it.
type check func(v *inspection, at string, x any)

// A shape is the fields that an object has. All others are refused.
type shape map[string]field

// A field is one of a shape.
type field struct {
	check    check
	required bool
}

func need(c check) field { return field{c, true} }
func may(c check) field  { return field{c, false} }

func (s shape) inspect(v *inspection, at string, o object) {
	for _, name := range slices.Sorted(maps.Keys(s)) {
		f := s[name]
		if x, ok := o[name]; ok && x != nil {
			f.check(v, at+"/"+name, x)
		} else if f.required {
			v.report(at, "missing required field: %s", name)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(o)) {
		if _, ok := s[name]; !ok {
			v.report(at, "invalid additional property: %s", name)
		}
	}
}

// check is the check for an object of this shape.
func (s shape) check(v *inspection, at string, x any) {
	o, ok := x.(object)
	if !ok {
		v.report(at, "must be an object")
		return
	}
	s.inspect(v, at, o)
}

// words is text that is shown; all such is counted.
func words(low, high int) check {
	return func(v *inspection, at string, x any) {
		if s, ok := x.(string); ok {
			v.chars += characters(s)
		}
		unseen(low, high)(v, at, x)
	}
}

// unseen is text that is not shown.
func unseen(low, high int) check {
	return func(v *inspection, at string, x any) {
		s, ok := x.(string)
		switch n := characters(s); {
		case !ok:
			v.report(at, "must be a string")
		case n < low:
			v.report(at, "must be more than %d characters", low-1)
		case n > high:
			v.report(at, "must be less than %d characters", high+1)
		}
	}
}

func boolean(v *inspection, at string, x any) {
	if _, ok := x.(bool); !ok {
		v.report(at, "must be a boolean")
	}
}

func number(low, high float64) check {
	return func(v *inspection, at string, x any) {
		n, ok := x.(float64)
		if !ok {
			v.report(at, "must be a number")
		} else if n < low || n > high {
			v.report(at, "must be between %v and %v", low, high)
		}
	}
}

func oneOf(values ...string) check {
	return func(v *inspection, at string, x any) {
		if s, ok := x.(string); !ok || !slices.Contains(values, s) {
			v.report(at, "must be one of %q", values)
		}
	}
}

func items(low, high int, c check) check {
	return func(v *inspection, at string, x any) {
		all, ok := x.([]any)
		switch {
		case !ok:
			v.report(at, "must be an array")
		case len(all) < low:
			v.report(at, "no less than %d items allowed", low)
		case len(all) > high:
			v.report(at, "no more than %d items allowed", high)
		}
		for i, item := range all {
			c(v, fmt.Sprintf("%s/%d", at, i), item)
		}
	}
}

// typed is an object whose fields depend on its type.
func typed(types map[string]shape) check {
	return func(v *inspection, at string, x any) {
		o, ok := x.(object)
		if !ok {
			v.report(at, "must be an object")
			return
		}
		kind, _ := o["type"].(string)
		s, ok := types[kind]
		if !ok || v.refused[kind] {
			v.report(at+"/type", "unsupported type: %s", kind)
			return
		}
		s.inspect(v, at, o)
	}
}

// with is a map with the entries of another one as well.
func with[M ~map[string]V, V any](m M, more M) M {
	all := maps.Clone(m)
	maps.Copy(all, more)
	return all
}

const anyLength = 1 << 30

var (
	anyText    = unseen(0, anyLength)
	kindShape  = shape{"type": need(anyText)}
	webAddress = unseen(1, 3000)
)

// blockTypes are the blocks that a message may have, with their fields.
// https://docs.slack.dev/reference/block-kit/blocks
var blockTypes = map[string]shape{
	"divider":  block(nil),
	"section":  block(shape{"text": may(anyTextObject(3000)), "fields": may(items(1, 10, anyTextObject(2000))), "accessory": may(typed(accessories)), "expand": may(boolean)}),
	"header":   block(shape{"text": need(plainText(150)), "level": may(number(1, 4))}),
	"context":  block(shape{"elements": need(items(1, 10, typed(contextElements)))}),
	"actions":  block(shape{"elements": need(items(1, 25, typed(actionElements)))}),
	"markdown": block(shape{"text": need(words(1, maxMarkdown))}),
	"image":    block(with(imageFields, shape{"title": may(plainText(2000))})),
	"file":     block(shape{"external_id": need(unseen(1, anyLength)), "source": need(oneOf("remote"))}),
	"video": block(shape{
		"video_url": need(webAddress), "thumbnail_url": need(webAddress), "alt_text": need(words(1, 2000)), "title": need(plainText(199)),
		"title_url": may(webAddress), "author_name": may(words(0, 49)), "provider_name": may(words(0, 49)), "provider_icon_url": may(webAddress), "description": may(plainText(200)),
	}),
	"rich_text": block(shape{"elements": need(items(0, anyLength, typed(richTextParts)))}),
	"table": block(shape{
		"rows":            need(items(1, 100, items(1, 20, typed(cells)))),
		"column_settings": may(items(0, 20, columnSetting)),
	}),
	"data_table": block(shape{
		"caption": need(words(1, anyLength)), "rows": need(items(2, 201, items(1, 20, typed(dataCells)))),
		"page_size": may(number(1, 100)), "row_header_column_index": may(number(0, 19)),
	}),
	"data_visualization": block(shape{"title": need(words(1, 50)), "chart": need(typed(charts))}),
}

func block(s shape) shape {
	return with(shape{"type": need(anyText), "block_id": may(unseen(0, maxBlockID))}, s)
}

// A text object is plain_text or mrkdwn.
func plainText(most int) check {
	return typed(map[string]shape{"plain_text": with(kindShape, shape{"text": need(words(1, most)), "emoji": may(boolean)})})
}

func anyTextObject(most int) check {
	return typed(map[string]shape{
		"plain_text": with(kindShape, shape{"text": need(words(1, most)), "emoji": may(boolean)}),
		"mrkdwn":     with(kindShape, shape{"text": need(words(1, most)), "verbatim": may(boolean)}),
	})
}

var imageFields = shape{"image_url": may(webAddress), "alt_text": need(words(1, 2000)), "slack_file": may(shape{"id": may(anyText), "url": may(anyText)}.check)}

// What stands in blocks.
var (
	confirmShape = shape{"title": need(plainText(100)), "text": need(anyTextObject(300)), "confirm": need(plainText(30)), "deny": may(plainText(30)), "style": may(oneOf("primary", "danger"))}

	buttonShape = with(kindShape, shape{
		"text": need(plainText(75)), "action_id": may(unseen(1, 255)), "url": may(webAddress), "value": may(unseen(0, 2000)), "confirm": may(confirmShape.check),
		"style": may(oneOf("primary", "danger")), "accessibility_label": may(words(0, 75)),
	})
	optionShape = shape{"text": need(anyTextObject(75)), "value": need(unseen(1, 150)), "description": may(plainText(75)), "url": may(webAddress)}
	menuShape   = with(kindShape, shape{
		"placeholder": may(plainText(150)), "action_id": may(unseen(1, 255)), "options": need(items(1, 100, optionShape.check)), "initial_option": may(optionShape.check),
		"confirm": may(confirmShape.check), "focus_on_load": may(boolean),
	})
	overflowShape = with(kindShape, shape{"action_id": may(unseen(1, 255)), "options": need(items(1, 5, optionShape.check)), "confirm": may(confirmShape.check)})
	usersShape    = with(kindShape, shape{"placeholder": may(plainText(150)), "action_id": may(unseen(1, 255)), "initial_user": may(anyText), "confirm": may(confirmShape.check), "focus_on_load": may(boolean)})
	pictureShape  = with(kindShape, imageFields)

	actionElements  = map[string]shape{"button": buttonShape, "static_select": menuShape, "overflow": overflowShape, "users_select": usersShape}
	accessories     = map[string]shape{"button": buttonShape, "static_select": menuShape, "overflow": overflowShape, "users_select": usersShape, "image": pictureShape}
	contextElements = map[string]shape{
		"image":      pictureShape,
		"plain_text": with(kindShape, shape{"text": need(words(1, 2000)), "emoji": may(boolean)}),
		"mrkdwn":     with(kindShape, shape{"text": need(words(1, 2000)), "verbatim": may(boolean)}),
	}
)

// What a rich_text block is made of.
var (
	looksField = may(shape{"bold": may(boolean), "italic": may(boolean), "strike": may(boolean), "code": may(boolean), "underline": may(boolean), "highlight": may(boolean), "unlink": may(boolean), "client_highlight": may(boolean)}.check)

	richTextElements = map[string]shape{
		"text":      with(kindShape, shape{"text": need(words(1, anyLength)), "style": looksField}),
		"link":      with(kindShape, shape{"url": need(words(1, 3000)), "text": may(words(0, anyLength)), "unsafe": may(boolean), "style": looksField}),
		"user":      with(kindShape, shape{"user_id": need(unseen(1, 255)), "style": looksField}),
		"usergroup": with(kindShape, shape{"usergroup_id": need(unseen(1, 255)), "style": looksField}),
		"channel":   with(kindShape, shape{"channel_id": need(unseen(1, 255)), "style": looksField}),
		"broadcast": with(kindShape, shape{"range": need(oneOf("here", "channel", "everyone")), "style": looksField}),
		"emoji":     with(kindShape, shape{"name": need(words(1, 255)), "unicode": may(anyText), "skin_tone": may(number(1, 6)), "style": looksField}),
		"color":     with(kindShape, shape{"value": need(words(1, 20)), "style": looksField}),
		"date":      with(kindShape, shape{"timestamp": need(number(0, 1e12)), "format": need(words(1, 255)), "timezone": may(anyText), "url": may(webAddress), "fallback": may(anyText), "style": looksField}),
	}
	sectionShape  = with(kindShape, shape{"elements": need(items(0, anyLength, typed(richTextElements)))})
	borderedShape = with(sectionShape, shape{"border": may(number(0, 1))})

	richTextParts = map[string]shape{
		"rich_text_section":      sectionShape,
		"rich_text_quote":        borderedShape,
		"rich_text_preformatted": with(borderedShape, shape{"language": may(anyText)}),
		"rich_text_list": with(borderedShape, shape{
			"elements": need(items(1, anyLength, typed(map[string]shape{"rich_text_section": sectionShape}))),
			"style":    need(oneOf("bullet", "ordered")), "indent": may(number(0, 8)), "offset": may(number(0, 1e6)),
		}),
	}
)

// What tables and charts are made of. A cell must have something in it.
var (
	cells = map[string]shape{
		"raw_text":   with(kindShape, shape{"text": need(words(1, anyLength))}),
		"raw_number": with(kindShape, shape{"value": need(number(-1e300, 1e300)), "text": may(words(1, anyLength))}),
		"rich_text":  with(kindShape, shape{"elements": need(items(1, anyLength, typed(richTextParts)))}),
	}
	dataCells = with(cells, map[string]shape{
		"action_cell": with(kindShape, shape{"element": need(typed(map[string]shape{"button": buttonShape})), "fallback": may(typed(cells))}),
	})
	pointShape  = shape{"label": need(words(1, 20)), "value": need(number(-1e300, 1e300))}
	seriesShape = shape{"name": need(words(1, 20)), "data": need(items(1, 20, pointShape.check))}
	axisShape   = shape{"categories": need(items(1, 20, words(1, 20))), "x_label": may(words(0, 50)), "y_label": may(words(0, 50))}
	plotShape   = with(kindShape, shape{"series": need(items(1, 6, seriesShape.check)), "axis_config": need(axisShape.check)})
	charts      = map[string]shape{
		"pie": with(kindShape, shape{"segments": need(items(1, 6, shape{"label": need(words(1, 20)), "value": need(number(1e-300, 1e300))}.check))}),
		"bar": plotShape, "area": plotShape, "line": plotShape,
	}
)

// columnSetting is how a column looksField; null leaves it as it is.
func columnSetting(v *inspection, at string, x any) {
	if x != nil {
		shape{"align": may(oneOf("left", "center", "right")), "is_wrapped": may(boolean)}.check(v, at, x)
	}
}
