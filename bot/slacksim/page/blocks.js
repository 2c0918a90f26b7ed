// Slack's blocks, and whole messages, as a tree of nodes: what mrkdwn.js and
// markdown.js say of nodes, and
//
//	{type: "underline" | "context" | "attachment", children}
//	{type: "fields", cells: [[block]]}
//	{type: "beside", children, aside: [block]}    an accessory at the right
//	{type: "datatable", caption, head, rows, pageSize}
//	{type: "buttons", buttons: [{label, style, url, action}]}
//	{type: "image", title, alt}
//	{type: "unknown", json}                        what this page cannot show
import {parseMarkdown} from './markdown.js';
import {emoji, emojiAt, parseMrkdwn, safeURL} from './mrkdwn.js';

// messageNodes returns what Slack would show of a message: its blocks, or its
// text if there are none, and its attachments.
export function messageNodes({text, blocks, attachments}) {
	const body = blocks?.length ? blocks.flatMap(blockNodes) : parseMrkdwn(text ?? '');
	const more = (attachments ?? []).map(a => ({
		type: 'attachment',
		children: a.blocks?.length ? a.blocks.flatMap(blockNodes) : parseMrkdwn(a.text ?? a.fallback ?? ''),
	}));
	return [...body, ...more];
}

// blockNodes returns the nodes of one block.
export function blockNodes(block) {
	try {
		return kinds.get(block.type)(block);
	} catch {
		return [unknown(block)]; // a type that is not in kinds, or not the shape that Slack documents
	}
}

const unknown = json => ({type: 'unknown', json});

const kinds = new Map(Object.entries({
	markdown: b => parseMarkdown(b.text),
	section: b => {
		const children = b.text ? textNodes(b.text) : [];
		if (b.fields) {
			children.push({type: 'fields', cells: b.fields.map(textNodes)});
		}
		return b.accessory ? [{type: 'beside', children, aside: elementNodes(b.accessory)}] : children;
	},
	context: b => [{type: 'context', children: b.elements.flatMap(elementNodes)}],
	header: b => [{type: 'heading', children: plain(b.text.text)}],
	divider: () => [{type: 'rule'}],
	actions: b => {
		const buttons = b.elements.filter(e => e.type === 'button').map(button);
		const others = b.elements.filter(e => e.type !== 'button').map(unknown);
		return buttons.length ? [{type: 'buttons', buttons}, ...others] : others;
	},
	image: b => [image(b)],
	rich_text: b => b.elements.map(richBlock),
	table: b => {
		const [head = [], ...rows] = b.rows.map(row => row.map(cell));
		return [{type: 'table', head, rows, align: (b.column_settings ?? []).map(c => c?.align ?? '')}];
	},
	data_table: b => {
		const [head = [], ...rows] = b.rows.map(row => row.map(cell));
		return [{type: 'datatable', caption: String(b.caption ?? ''), head, rows, pageSize: b.page_size || 5}];
	},
}));

// textNodes returns the blocks of a text object.
function textNodes({type, text, verbatim, emoji}) {
	if (type === 'mrkdwn') {
		return parseMrkdwn(text, verbatim);
	}
	return [{type: 'paragraph', children: plain(text, emoji !== false)}];
}

// elementNodes returns the blocks of an accessory or of what is in a context.
function elementNodes(e) {
	switch (e.type) {
	case 'mrkdwn':
	case 'plain_text':
		return textNodes(e);
	case 'image':
		return [image(e)];
	case 'button':
		return [{type: 'buttons', buttons: [button(e)]}];
	}
	return [unknown(e)];
}

const image = e => ({type: 'image', title: e.title?.text ?? '', alt: e.alt_text ?? ''});
const button = e => ({label: e.text.text, style: e.style ?? '', url: safeURL(e.url), action: e.action_id ?? ''});

// plain returns the nodes of text in which nothing but :emoji: means anything.
function plain(text, pictures = true) {
	const nodes = [];
	for (const line of text.split('\n')) {
		let shown = '';
		for (let at = 0; at < line.length;) {
			const picture = pictures && line[at] === ':' ? emojiAt(line, at) : null;
			shown += picture?.text ?? line[at];
			at += picture?.length ?? 1;
		}
		nodes.push({type: 'break'}, shown);
	}
	return nodes.slice(1);
}

// cell returns one cell of a table: what is in it is data, not markup.
function cell(c) {
	switch (c?.type) {
	case undefined:
		return {children: []};
	case 'raw_text':
		return {children: [String(c.text)]};
	case 'raw_number':
		return {children: [String(c.text || c.value)], number: true};
	case 'rich_text':
		return {children: c.elements.map(richBlock)};
	case 'action_cell':
		return {children: [{type: 'buttons', buttons: [button(c.element)]}]};
	}
	return {children: [unknown(c)]};
}

function richBlock(e) {
	switch (e.type) {
	case 'rich_text_section':
		return {type: 'paragraph', children: e.elements.flatMap(richSpan)};
	case 'rich_text_preformatted':
		return {type: 'pre', children: e.elements.flatMap(richSpan)};
	case 'rich_text_quote':
		return {type: 'quote', children: e.elements.flatMap(richSpan)};
	case 'rich_text_list':
		return {
			type: 'list', ordered: e.style === 'ordered', start: (e.offset ?? 0) + 1, indent: e.indent ?? 0,
			items: e.elements.map(item => [richBlock(item)]), tasks: [],
		};
	}
	return unknown(e);
}

const styles = {bold: 'bold', italic: 'italic', strike: 'strike', underline: 'underline', code: 'code'};

// richSpan returns the nodes of an element within a rich text section. Its
// text is text: no entities, no tokens.
function richSpan(e) {
	let nodes = richLeaf(e);
	for (const [style, type] of Object.entries(styles)) {
		if (e.style?.[style]) {
			nodes = [{type, children: nodes}];
		}
	}
	return nodes;
}

function richLeaf(e) {
	switch (e.type) {
	case 'text':
		return plain(e.text, false);
	case 'link': {
		const url = safeURL(e.url);
		return [url ? {type: 'link', url, children: [e.text || e.url]} : [e.text, e.url].filter(Boolean).join(' ')];
	}
	case 'user':
		return [{type: 'user', id: e.user_id}];
	case 'usergroup':
		return [{type: 'group', id: e.usergroup_id}];
	case 'channel':
		return [{type: 'channel', id: e.channel_id}];
	case 'broadcast':
		return [{type: 'broadcast', name: e.range}];
	case 'emoji':
		return [emoji.get(e.name) ?? ':' + e.name + ':'];
	case 'date':
		return [e.fallback || new Date(e.timestamp * 1000).toISOString()];
	}
	return [unknown(e)];
}
