// node page/mrkdwn_test.mjs: whatever people and logs say, what a message
// shows is text unless Slack would make something of it.
import assert from 'node:assert/strict';
import test from 'node:test';
import {blockNodes, messageNodes} from './blocks.js';
import {parseMarkdown} from './markdown.js';
import {parseMrkdwn, safeURL} from './mrkdwn.js';

// text is all that a reader sees of nodes.
function text(nodes) {
	return nodes.map(n => {
		if (typeof n === 'string') {
			return n;
		}
		switch (n.type) {
		case 'break': return '\n';
		case 'user': return `@(${n.id})`;
		case 'channel': return `#(${n.id})`;
		case 'broadcast': return `@(${n.name})`;
		case 'list': return n.items.map(text).join('\n');
		case 'table': return [n.head, ...n.rows].map(r => r.map(c => text(c.children)).join(' | ')).join('\n');
		}
		return text(n.children ?? []);
	}).join('');
}

// types is every type of node there is within nodes.
function types(nodes) {
	return nodes.flatMap(n => typeof n === 'string' ? [] : [n.type, ...types(n.children ?? []), ...(n.items ?? []).flatMap(types), ...[...n.head ?? [], ...(n.rows ?? []).flat()].flatMap(c => types(c.children))]);
}

const urls = nodes => nodes.flatMap(n => typeof n === 'string' ? [] : [...n.url ? [n.url] : [], ...urls(n.children ?? [])]);
const live = ['link', 'user', 'group', 'channel', 'broadcast'];

// inert checks that source shows as wanted in both languages, and does nothing.
function inert(source, wanted = source) {
	for (const parse of [parseMrkdwn, parseMarkdown]) {
		const nodes = parse(source);
		assert.equal(text(nodes), wanted, parse.name);
		assert.deepEqual(types(nodes).filter(t => live.includes(t)), [], parse.name);
	}
}

test('HTML is text', () => {
	inert('<script>alert(1)</script>');
	inert('<img src=x onerror=alert(1)>');
	inert('&lt;script&gt;alert(1)&lt;/script&gt;', '<script>alert(1)</script>');
	inert('a <b onclick="x()">b</b> c');
});

test('escaped tokens are text', () => {
	inert('&lt;!channel&gt;', '<!channel>');
	inert('&lt;@U123&gt; &lt;#C123&gt;', '<@U123> <#C123>');
	inert('`&lt;!here&gt;`', '<!here>');
	inert('```\n&lt;!here&gt;\n```', '<!here>');
	inert('&amp;lt;!channel&amp;gt;', '&lt;!channel&gt;');
	assert.equal(text(parseMarkdown('&#60;!channel&#62; &#x3c;!here>')), '<!channel> <!here>');
	assert.deepEqual(types(parseMarkdown('&#60;!channel&#62; &#x3c;!here>')), ['paragraph']);
});

test('tokens that nobody escaped are alive, in code too', () => {
	for (const parse of [parseMrkdwn, parseMarkdown]) {
		for (const wrap of [s => s, s => '`' + s + '`', s => '```\n' + s + '\n```', s => '*' + s + '*']) {
			assert.ok(types(parse(wrap('<!channel>'))).includes('broadcast'), wrap('<!channel>'));
			assert.ok(types(parse(wrap('<@U123>'))).includes('user'));
			assert.ok(types(parse(wrap('<https://evil.example|contoso.com>'))).includes('link'));
		}
	}
	assert.ok(types(parseMarkdown('| a |\n| --- |\n| <!here> |')).includes('broadcast'));
	assert.ok(types(parseMarkdown('\\<!here>')).includes('broadcast'), 'Slack has no backslash escape for <');
});

test('links go to pages and mail only', () => {
	for (const bad of ['javascript:alert(1)', 'JaVaScRiPt:alert(1)', ' javascript:alert(1)', 'java\tscript:alert(1)', 'data:text/html,x', 'vbscript:x', 'file:///etc/passwd', 'blob:x/y', '//evil.example', '/page/state', '']) {
		assert.equal(safeURL(bad), '', bad);
		for (const source of [`<${bad}|click>`, `<${bad}>`, `[click](${bad})`, `[click](<${bad}>)`, `![x](${bad})`]) {
			assert.deepEqual([...urls(parseMrkdwn(source)), ...urls(parseMarkdown(source))], [], source);
		}
		assert.deepEqual(urls(blockNodes({type: 'rich_text', elements: [{type: 'rich_text_section', elements: [{type: 'link', url: bad, text: 'click'}]}]})), []);
	}
	inert('<javascript:alert(1)|click>');
	inert('[click](javascript:alert(1))');
	assert.equal(safeURL('http://127.0.0.1:4100/devicelogin?otc=ABC'), 'http://127.0.0.1:4100/devicelogin?otc=ABC');
	assert.deepEqual(urls(parseMrkdwn('<mailto:ada@contoso.com|ada@contoso.com> <https://a.example/?x=1&amp;y=2|l>')), ['mailto:ada@contoso.com', 'https://a.example/?x=1&y=2']);
	assert.deepEqual(urls(parseMarkdown('[l](https://a.example/?x=1&amp;y=2)')), ['https://a.example/?x=1&amp;y=2'], 'Slack does not decode entities there');
});

test('fences end where they end', () => {
	const value = 'a ``` b <!here> ~~~ c';
	assert.deepEqual(parseMarkdown('````\n' + value + '\n```\n````\nafter')[0].children.filter(c => typeof c === 'string'), ['a ``` b ', ' ~~~ c\n```']);
	assert.equal(parseMarkdown('```json\n{}\n```')[0].lang, 'json');
	assert.deepEqual(types(parseMrkdwn('```\na\n``` b ``` c')), ['pre', 'paragraph'], 'the last one has no end');
	assert.equal(text(parseMarkdown('``a ` b``')), 'a ` b');
	inert('one ` two');
});

test('pipes in cells', () => {
	const [table, ...rest] = parseMarkdown('| a | b |\n| :-- | --: |\n| x\\|y | `p\\|q` |\n| C:\\\\temp\\\\ | \\\\\\| |\n| one |\n| a | b | too much |\n\nafter');
	assert.deepEqual(table.rows.map(r => r.map(c => text(c.children))), [['x|y', 'p|q'], ['C:\\temp\\', '\\|'], ['one', ''], ['a', 'b']]);
	assert.deepEqual(table.align, ['left', 'right']);
	assert.equal(text(rest), 'after');
	assert.deepEqual(types(parseMarkdown('a | b\nno | table')), ['paragraph', 'break']);
});

test('Markdown', () => {
	const kinds = source => types(parseMarkdown(source)).filter(t => t !== 'paragraph');
	assert.deepEqual(kinds('**b** *i* __b__ _i_ ~~s~~ ~s~ `c` ***bi***'), ['bold', 'italic', 'bold', 'italic', 'strike', 'strike', 'code', 'italic', 'bold']);
	assert.deepEqual(kinds('user_ids=a_b_c and 2 * 3 * 4 and a~b'), []);
	assert.deepEqual(kinds('# one\n###### six\n#no'), ['heading', 'heading']);
	assert.deepEqual(kinds('- a\n  - b\n- [x] c\n\n1. d\n2) e'), ['list', 'list', 'list', 'list']);
	assert.deepEqual(kinds('> a\n> - b'), ['quote', 'list']);
	assert.deepEqual(kinds('---\n* * *'), ['rule', 'rule']);
	assert.equal(text(parseMarkdown('\\*a\\* \\_b\\_ \\# \\| \\\\ \\~ \\[c\\](d) \\`e\\` 1\\. \\!')), '*a* _b_ # | \\ ~ [c](d) `e` 1. !');
	assert.equal(text(parseMarkdown('&amp; &quot; &nbsp;&#124; &unknown; &#0;')), '& " \u00a0| &unknown; \ufffd');
	assert.equal(text(parseMarkdown('a\nb  \nc\\\nd')), 'a\nb\nc\nd');
	assert.deepEqual(parseMarkdown('- [x] a\n- [ ] b\n- c')[0].tasks, [true, false, undefined]);
});

test('mrkdwn', () => {
	const kinds = source => types(parseMrkdwn(source)).filter(t => t !== 'paragraph');
	assert.deepEqual(kinds('*b* _i_ ~s~ `c` *_bi_*'), ['bold', 'italic', 'strike', 'code', 'bold', 'italic']);
	assert.deepEqual(kinds('a*b*c snake_case_name 2 * 3 * 4 **no** ~ x ~'), []);
	assert.deepEqual(kinds('&gt; a\n> b\nc'), ['quote', 'break']);
	assert.deepEqual(kinds('see https://a.example/x, or https://b.example.'), ['link', 'link']);
	assert.deepEqual(types(parseMrkdwn('https://a.example', true)), ['paragraph'], 'verbatim');
	assert.deepEqual(kinds('<!subteam^S1|@soc> <#C1|general> <!unknown> <tel:+1|1>'), ['group', 'channel']);
	assert.equal(text(parseMrkdwn('&amp;amp; &quot; :tada: :constructor: <!date^1^{date}|yesterday>')), '&amp; &quot; 🎉 :constructor: yesterday');
});

test('cells and plain text are data', () => {
	const hostile = '<!channel> &lt;b&gt; *b* **b** `c` <https://evil.example|x> | [x](https://evil.example)';
	const row = [{type: 'raw_text', text: hostile}, {type: 'raw_number', value: 3}];
	const [table] = blockNodes({type: 'table', rows: [row, row]});
	assert.deepEqual(table.rows[0].map(c => c.children), [[hostile], ['3']]);
	assert.deepEqual(blockNodes({type: 'header', text: {type: 'plain_text', text: hostile}})[0].children, [hostile]);
	assert.deepEqual(blockNodes({type: 'section', text: {type: 'plain_text', text: hostile}})[0].children, [hostile]);
	const rich = {type: 'rich_text', elements: [{type: 'rich_text_preformatted', elements: [{type: 'text', text: hostile}]}]};
	assert.deepEqual(blockNodes(rich), [{type: 'pre', children: [hostile]}]);
});

test('what is unknown or broken is shown as it is', () => {
	for (const block of [{type: 'new_thing', x: 1}, {type: 'constructor'}, {}, {type: 'table'}, {type: 'markdown'}, {type: 'section', fields: 3}, {type: 'rich_text', elements: [null]}]) {
		assert.deepEqual(blockNodes(block), [{type: 'unknown', json: block}]);
	}
	assert.deepEqual(types(messageNodes({text: '*a*', blocks: []})), ['paragraph', 'bold']);
	assert.deepEqual(types(messageNodes({text: '*a*', blocks: [{type: 'divider'}]})), ['rule']);
});

test('nothing takes long', () => {
	const pieces = ['*a ', '`a ', '``a`', '[', '[a](', '**a ', '<', '> ', '- ', '|', '*_', '~a~ ', '*a_ ', '&', 'h', 'http', ':a', '\\', ' ', '<a|', '_*~`'];
	for (const parse of [parseMrkdwn, parseMarkdown]) {
		for (const piece of pieces) {
			const began = performance.now();
			parse(piece.repeat(12000 / piece.length));
			assert.ok(performance.now() - began < 2000, `${parse.name}: ${piece}`);
		}
	}
});
