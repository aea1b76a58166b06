"""`text/chat_templates.json`: conversations as transformers renders them by templates in the manners that are usual.

After `text_models.py`, in the same environment.
"""

import json

from transformers import AutoTokenizer

from places import FIXTURES

TEMPLATES = {
    "marked": """{% for message in messages %}
{% if loop.first and message['role'] != 'system' %}
<|begin|>system
You answer in one sentence.<|end|>
{% endif %}
<|begin|>{{ message['role'] }}
{{ message['content'] }}<|end|>
{% endfor %}
{% if add_generation_prompt %}
<|begin|>assistant
{% endif %}""",
    "headed": """{{- bos_token }}
{%- for message in messages %}
    {{- '<|head|>' + message.role + '<|/head|>\\n\\n' + message.content | trim + '<|turn|>' }}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|head|>assistant<|/head|>\\n\\n' }}
{%- endif %}""",
    "alternating": """{{ bos_token }}{% if messages[0]['role'] == 'system' %}{% set first = messages[0]['content'] + '\\n\\n' %}{% set rest = messages[1:] %}\
{% else %}{% set first = '' %}{% set rest = messages %}{% endif %}{% for message in rest %}\
{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate: user, assistant, user, ..') }}{% endif %}\
{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}\
<turn>{{ role }}
{{ (first if loop.first else '') + message['content'].strip() }}</turn>
{% endfor %}{% if add_generation_prompt %}<turn>model
{% endif %}""",
    "bracketed": """{%- set found = namespace(system='', count=0) -%}
{%- for message in messages -%}
{%- if message['role'] == 'system' -%}{%- set found.system = message['content'] -%}{%- endif -%}
{%- endfor -%}
{{- bos_token -}}
{%- for message in messages if message['role'] != 'system' -%}
{%- if message['role'] == 'user' -%}
{%- set found.count = found.count + 1 -%}
{{- '[ASK] ' -}}{%- if found.system and found.count == 1 -%}{{- '<<' + found.system + '>>\\n' -}}{%- endif -%}{{- message['content'].strip() + ' [/ASK]' -}}
{%- elif message['role'] == 'assistant' -%}
{{- ' ' + message['content'] | trim + eos_token -}}
{%- else -%}
{{- raise_exception('only user, assistant and system: ' + message['role']) -}}
{%- endif -%}
{%- endfor -%}""",
    "written_out": """{%- macro line(name, value) -%}
{{ name | upper }}: {{ value }}
{% endmacro -%}
{%- for message in messages -%}
{%- if message.content is not defined -%}{%- continue -%}{%- endif -%}
{{ line(message.role, message | tojson) }}
{%- if 'stop here' in message.content.lower() -%}{%- break -%}{%- endif -%}
{%- if message.content.startswith('#') %}{{ message.content.split(' ')[0].lstrip('#') | default('none', true) }}|{{ message.content[-3:] }}
{% endif -%}
{%- for key, value in message.items() -%}
{{ key }}={{ value | length }};{% endfor %}
{% endfor -%}
{%- if add_generation_prompt is defined and add_generation_prompt -%}{{ line('assistant', '') }}{%- endif -%}""",
    "replaced": """{% set last = messages | last %}{{ messages | length }} {{ messages | map(attribute='role') | join(', ') }}
{% for message in messages | rejectattr('role', 'equalto', 'system') | list %}
{{ loop.index }}/{{ loop.length }} {{ message['content'] | replace('\\n', ' ') | trim }}{{ '' if loop.last else ' ~' }}
{% endfor %}
{{ last.role | capitalize }}{% if pad_token is defined %} {{ pad_token }}{% endif %}{# no more #}
""",
}
CONVERSATIONS = [
    [("user", "Which supplier sent this invoice?")],
    [("user", "  Größe & Maß <b>20 €</b>  \n")],
    [("system", "Be brief."), ("user", "Was it paid?")],
    [("user", "Was it paid?"), ("assistant", "Yes, in May."), ("user", "By whom?")],
    [("system", "You read ledgers.\nYou answer in JSON."), ("user", "#42 is \"late\""), ("assistant", '{"late": true}'), ("user", "Stop here, 東京 🙂")],
    [("user", "one"), ("user", "two")],
    [("user", "{{ not a template }} {% raw %}")],
    [("assistant", "I begin."), ("user", "And I go on.")],
    [("tool", "42"), ("user", "")],
]


def main() -> None:
    own = AutoTokenizer.from_pretrained(FIXTURES / "text/llama")
    found = []
    for name, template in TEMPLATES.items():
        answers = []
        for conversation in CONVERSATIONS:
            messages = [{"role": role, "content": content} for role, content in conversation]
            try:
                text = own.apply_chat_template(messages, chat_template=template, tokenize=False, add_generation_prompt=True)
            except Exception as error:
                answers.append({"messages": messages, "error": str(error)})
            else:
                answers.append({"messages": messages, "text": text})
        found.append({"name": name, "template": template, "answers": answers})
    (FIXTURES / "text/chat_templates.json").write_text(json.dumps(found, ensure_ascii=False, indent=1) + "\n")
    answers = [answer for one in found for answer in one["answers"]]
    print(len(answers), "conversations,", sum("error" in answer for answer in answers), "refused")


if __name__ == "__main__":
    main()
