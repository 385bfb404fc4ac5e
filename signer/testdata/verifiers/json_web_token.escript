#!/usr/bin/env escript
%% Verifies tokens with erlang-jose, and checks what Elixir's json_web_token checks
%% besides: the length of the key, and that the header names the one algorithm expected.
%% See README.md.
%%
%% Debian's erlang-jose comes without a JSON library, so this module is one: strict
%% RFC 8259 for what tokens hold, refusing invalid UTF-8.
-mode(compile).
-export([main/1, decode/1, encode/1]).

main([SecretFile]) ->
    {ok, Secret} = file:read_file(SecretFile),
    ok = io:setopts([binary, {encoding, latin1}]),
    jose:json_module(?MODULE),
    loop(Secret).

loop(Secret) ->
    case io:get_line("") of
        eof -> ok;
        Line ->
            Token = base64:decode(string:trim(Line)),
            Answer = try ["accept ", base64:encode(encode(verify(Token, Secret)))]
                     catch _:Reason -> ["reject ", one_line(Reason)]
                     end,
            io:put_chars([Answer, $\n]),
            loop(Secret)
    end.

one_line(Reason) ->
    [C || C <- lists:flatten(io_lib:format("~0p", [Reason])), C >= 32, C < 127].

verify(Token, Secret) ->
    byte_size(Secret) >= 32 orelse throw(key_too_short),
    case jose_jws:verify_strict(jose_jwk:from_oct(Secret), [<<"HS256">>], Token) of
        {true, Payload, _} ->
            Claims = decode(Payload),
            is_map(Claims) orelse throw(no_object),
            Claims;
        _ -> throw(signature)
    end.

%% Encoder, for the answer.

encode(M) when is_map(M) ->
    Members = [[encode(K), $:, encode(V)] || {K, V} <- maps:to_list(M)],
    iolist_to_binary([${, lists:join($,, Members), $}]);
encode(L) when is_list(L) -> iolist_to_binary([$[, lists:join($,, [encode(V) || V <- L]), $]]);
encode(true) -> <<"true">>;
encode(false) -> <<"false">>;
encode(null) -> <<"null">>;
encode(N) when is_integer(N) -> integer_to_binary(N);
encode(N) when is_float(N) -> float_to_binary(N, [{decimals, 6}, compact]);
encode(S) when is_binary(S) ->
    iolist_to_binary([$", [escape(C) || <<C>> <= S], $"]).

escape(C) when C < 32; C =:= $"; C =:= $\\ -> io_lib:format("\\u~4.16.0b", [C]);
escape(C) -> C.

%% Decoder.

decode(Text) ->
    is_list(unicode:characters_to_list(Text, utf8)) orelse throw(invalid_utf8),
    {Value, Rest} = value(space(Text)),
    <<>> = space(Rest),
    Value.

space(<<C, Rest/binary>>) when C =:= $\s; C =:= $\t; C =:= $\r; C =:= $\n -> space(Rest);
space(Rest) -> Rest.

value(<<"true", Rest/binary>>) -> {true, Rest};
value(<<"false", Rest/binary>>) -> {false, Rest};
value(<<"null", Rest/binary>>) -> {null, Rest};
value(<<$", Rest/binary>>) -> text(Rest, []);
value(<<$[, Rest/binary>>) ->
    case space(Rest) of
        <<$], After/binary>> -> {[], After};
        First -> elements(First, [])
    end;
value(<<${, Rest/binary>>) ->
    case space(Rest) of
        <<$}, After/binary>> -> {#{}, After};
        First -> members(First, #{})
    end;
value(Rest) ->
    {match, [{0, Length}]} = re:run(Rest, "^-?(0|[1-9][0-9]*)([.][0-9]+)?([eE][-+]?[0-9]+)?", [{capture, first}]),
    <<Number:Length/binary, After/binary>> = Rest,
    {try binary_to_integer(Number) catch error:badarg -> binary_to_float(Number) end, After}.

elements(Text, Before) ->
    {Value, Rest} = value(space(Text)),
    case space(Rest) of
        <<$,, After/binary>> -> elements(After, [Value | Before]);
        <<$], After/binary>> -> {lists:reverse([Value | Before]), After}
    end.

members(Text, Before) ->
    <<$", AfterQuote/binary>> = space(Text),
    {Name, AfterName} = text(AfterQuote, []),
    <<$:, AfterColon/binary>> = space(AfterName),
    {Value, Rest} = value(space(AfterColon)),
    case space(Rest) of
        <<$,, After/binary>> -> members(After, Before#{Name => Value});
        <<$}, After/binary>> -> {Before#{Name => Value}, After}
    end.

text(<<$", Rest/binary>>, Before) -> {iolist_to_binary(lists:reverse(Before)), Rest};
text(<<$\\, $u, Hex:4/binary, Rest/binary>>, Before) ->
    case binary_to_integer(Hex, 16) of
        High when High >= 16#D800, High < 16#DC00 ->
            <<$\\, $u, LowHex:4/binary, After/binary>> = Rest,
            Low = binary_to_integer(LowHex, 16),
            true = Low >= 16#DC00 andalso Low < 16#E000,
            text(After, [<<(16#10000 + (High - 16#D800) * 1024 + Low - 16#DC00)/utf8>> | Before]);
        C -> text(Rest, [<<C/utf8>> | Before])
    end;
text(<<$\\, C, Rest/binary>>, Before) ->
    {C, Plain} = lists:keyfind(C, 1, [{$", $"}, {$\\, $\\}, {$/, $/}, {$b, 8}, {$f, 12}, {$n, 10}, {$r, 13}, {$t, 9}]),
    text(Rest, [Plain | Before]);
text(<<C, Rest/binary>>, Before) when C >= 32 -> text(Rest, [C | Before]).
