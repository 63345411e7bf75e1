"""A stand-in for Steam's Web API, IGDB and Twitch's tokens: their shapes, limits and moods, over real HTTP.

    server    HTTP: the services' paths, and our own under /_standin/
    services  what each service answers
    players   the accounts, and their games
    moods     failures that a test or a person asks for

`python -m local.steam --port N` starts it. Everything is kept in memory.
"""
